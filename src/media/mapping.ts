import { assert } from '../lib/assert.js';
import { GIB } from '../lib/units.js';

/** Bytes of a window. Node 20's Buffers end at 4 GiB, so large media are mapped in pieces. */
export const WINDOW_BYTES = GIB;

/** Windows that come into being when they are first touched. */
interface LazyWindows {
  /** Bytes of all windows together. */
  readonly lengthBytes: number;
  /**
   * Maps one window; called once for each.
   *
   * @throws DaxdError naming the window
   */
  readonly mapWindow: (offset: number, length: number) => Buffer;
}

/** What a {@link Mapping} is made of. */
export interface MappingOptions {
  /** Every window is `windowBytes` long except the last, which may be shorter. */
  readonly windows: readonly Buffer[] | LazyWindows;
  readonly readOnly: boolean;
  /** {@link WINDOW_BYTES} by default; tests take small ones. */
  readonly windowBytes?: number;
}

/**
 * Mapped memory of any length, over windows that are mapped one by one, each when it is
 * first touched: a window costs a system call and, for V8 counts its bytes as garbage to
 * come, a collection, and most of a large medium is never looked at.
 *
 * A range outside the mapping is a defect of the caller, who checks what clients send:
 * every method asserts its range. A window stays mapped for as long as the mapping or any
 * view of it can be reached, so no view ever dangles. Every method may throw what the first
 * touch of a window throws, a DaxdError that names it; nothing is stored by then, unless
 * the range crosses a border.
 */
export class Mapping {
  readonly length: number;
  /** The pages are write-protected: a store through a view ends the process with SIGSEGV. */
  readonly readOnly: boolean;
  /** `undefined` where nobody has looked yet. */
  readonly #windows: (Buffer | undefined)[];
  readonly #windowBytes: number;
  readonly #mapWindow: (offset: number, length: number) => Buffer;

  constructor({ windows, readOnly, windowBytes = WINDOW_BYTES }: MappingOptions) {
    const lazy = 'mapWindow' in windows ? windows : given(windows);
    this.length = lazy.lengthBytes;
    this.readOnly = readOnly;
    this.#windowBytes = windowBytes;
    this.#mapWindow = lazy.mapWindow;
    this.#windows = Array.from({ length: Math.ceil(this.length / windowBytes) }, () => undefined);
    if (lazy !== windows) for (let at = 0; at < this.length; at += windowBytes) this.#window(at);
  }

  /**
   * The live bytes of [offset, offset + length), which must not cross a window border: no
   * aligned block up to the size of a window does. Stores to it go to the media.
   *
   * @hot Once a metadata block read.
   */
  view(offset: number, length: number): Buffer {
    this.#assertInside(offset, length);
    const within = offset % this.#windowBytes;
    assert(within + length <= this.#windowBytes, 'a view stays in one window');
    return this.#window(offset).subarray(within, within + length);
  }

  /** The live bytes of [offset, offset + length), one view a window. */
  views(offset: number, length: number): Buffer[] {
    this.#assertInside(offset, length);
    const views: Buffer[] = [];
    for (let done = 0; done < length;) {
      const view = this.view(offset + done, this.#run(offset + done, length - done));
      views.push(view);
      done += view.length;
    }
    return views;
  }

  /**
   * As {@link views}, but only of windows that were touched before: nothing was stored in
   * the others.
   */
  touchedViews(offset: number, length: number): Buffer[] {
    this.#assertInside(offset, length);
    const views: Buffer[] = [];
    for (let done = 0; done < length;) {
      const run = this.#run(offset + done, length - done);
      const isTouched =
        this.#windows[Math.floor((offset + done) / this.#windowBytes)] !== undefined;
      if (isTouched) views.push(this.view(offset + done, run));
      done += run;
    }
    return views;
  }

  /**
   * Copies `target.length` bytes from `offset` on into `target`.
   *
   * @hot Once a block read.
   */
  read(offset: number, target: Uint8Array): void {
    this.#assertInside(offset, target.length);
    for (let done = 0; done < target.length;) {
      const run = this.#run(offset + done, target.length - done);
      const within = (offset + done) % this.#windowBytes;
      this.#window(offset + done).copy(target, done, within, within + run);
      done += run;
    }
  }

  /**
   * Copies `source` to `offset`. Durable only after a persist of the range.
   *
   * @hot Once a block write.
   */
  write(offset: number, source: Uint8Array): void {
    assert(!this.readOnly, 'nothing is stored to a read-only mapping');
    this.#assertInside(offset, source.length);
    for (let done = 0; done < source.length;) {
      const run = this.#run(offset + done, source.length - done);
      const piece = run === source.length ? source : source.subarray(done, done + run);
      this.#window(offset + done).set(piece, (offset + done) % this.#windowBytes);
      done += run;
    }
  }

  /** Sets every byte of [offset, offset + length) to `value`, 0 to 255. */
  fill(offset: number, length: number, value: number): void {
    assert(!this.readOnly, 'nothing is stored to a read-only mapping');
    for (const view of this.views(offset, length)) view.fill(value);
  }

  #window(offset: number): Buffer {
    return this.#windows[Math.floor(offset / this.#windowBytes)] ?? this.#touch(offset);
  }

  /** Maps the window at `offset`; the one place where an access takes more than its bytes. */
  #touch(offset: number): Buffer {
    const start = offset - (offset % this.#windowBytes);
    // An empty range at the very end of full windows has no window of its own.
    if (start === this.length) return EMPTY;
    const length = Math.min(this.#windowBytes, this.length - start);
    const window = this.#mapWindow(start, length);
    assert(window.length === length, 'only the last window of a mapping may be short');
    this.#windows[start / this.#windowBytes] = window;
    return window;
  }

  /** How many of `length` bytes at `offset` lie before the next window border. */
  #run(offset: number, length: number): number {
    return Math.min(length, this.#windowBytes - (offset % this.#windowBytes));
  }

  #assertInside(offset: number, length: number): void {
    assert(
      Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 0,
      'offsets and lengths are whole numbers from 0 on',
    );
    assert(offset + length <= this.length, 'a range lies inside the mapping');
  }
}

/** Windows that are there already; the constructor looks at each. */
function given(windows: readonly Buffer[]): LazyWindows {
  const left = windows[Symbol.iterator]();
  const lengthBytes = windows.reduce((total, window) => total + window.length, 0);
  return { lengthBytes, mapWindow: () => left.next().value ?? EMPTY };
}

const EMPTY = Buffer.alloc(0);
