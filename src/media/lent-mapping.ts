import { constants } from 'node:fs';

import type { ByteRange } from '../lib/byte-range.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import { readDeviceDaxGeometry } from './device-dax-sysfs.js';
import { deviceNumber } from './device-number.js';
import { mapThroughLibc } from './map-through-libc.js';
import { coverWindow } from './mman.js';
import { WINDOW_BYTES } from './mapping.js';
import { unitsToCut } from './lent-units.js';
import { openFile } from './open-file.js';

/** What was lent of a backing. */
export interface LentRequest {
  /** The backing. */
  readonly path: string;
  /** In bytes from its start. */
  readonly ranges: readonly ByteRange[];
  /** The pages are write-protected: a store through a view ends the process with SIGSEGV. */
  readonly readOnly: boolean;
}

/** One view of a range; `offset` is that of its first byte in the backing. */
export interface LentView {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** A mapping, and what of it is lent. */
interface LentWindow {
  /** Of its first byte in the backing. */
  readonly offset: number;
  readonly memory: Buffer;
  readonly view: LentView;
}

/** What {@link LentMapping} is made of. */
interface LentWindows {
  readonly windows: readonly LentWindow[];
  readonly readOnly: boolean;
  /** What can be mapped at once, in bytes. */
  readonly align: number;
}

/**
 * Ranges of somebody else's backing, mapped for as long as they are lent. Afterwards they are
 * covered: a view that is still used then touches memory of this process alone.
 */
export class LentMapping {
  /** In the order of the ranges, each in pieces of at most 1 GiB. */
  readonly views: readonly LentView[];
  readonly #windows: readonly LentWindow[];
  readonly #readOnly: boolean;
  readonly #align: number;

  private constructor({ windows, readOnly, align }: LentWindows) {
    this.#windows = windows;
    this.views = windows.map(({ view }) => view);
    this.#readOnly = readOnly;
    this.#align = align;
  }

  /**
   * Maps the ranges, shared; whole pages, or what a device-dax node maps at once, around them.
   *
   * @throws DaxdError with the errno of open(2) or mmap(2).
   */
  static async open({ path, ranges, readOnly }: LentRequest): Promise<LentMapping> {
    const handle = await openFile(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    try {
      const stat = await handle.stat();
      const node = { ...deviceNumber(stat.rdev), path, sysfsRoot: '/sys' };
      const align = stat.isCharacterDevice()
        ? (await readDeviceDaxGeometry(node)).alignBytes
        : PAGE_SIZE;
      const windows: LentWindow[] = [];
      for (const range of ranges) {
        for (const { offset, length } of piecesOf(range, align)) {
          const memory = mapThroughLibc({ path, fd: handle.fd, offset, length, readOnly });
          windows.push({ offset, memory, view: viewOf(memory, offset, range) });
        }
      }
      return new LentMapping({ windows, readOnly, align });
    } finally {
      await handle.close();
    }
  }

  /**
   * Ends the access of every view at once; what was stored before stays stored. May be called
   * again.
   *
   * @throws DaxdError ENOMEM; views may reach the backing still then.
   */
  cover(): void {
    for (const { memory } of this.#windows) this.#cover(memory);
  }

  /**
   * Ends the access to all pages that hold none of `kept`, ranges of the backing; the rest
   * stays as it is. May be called again.
   *
   * @throws DaxdError EINVAL, and nothing is cut off, where a device-dax node cannot cut there;
   *   ENOMEM, and views may reach the backing still.
   */
  coverAllBut(kept: readonly ByteRange[]): void {
    const cuts = this.#windows.map(({ offset, memory, view }) => {
      const lent = { offset: view.offset, length: view.bytes.length };
      const units = unitsToCut({ lent, kept, align: this.#align });
      return units.map((unit) => {
        const from = unit.offset - offset;
        return memory.subarray(from, from + unit.length);
      });
    });
    for (const memory of cuts.flat()) this.#cover(memory);
  }

  #cover(memory: Buffer): void {
    coverWindow(memory, { readOnly: this.#readOnly });
  }
}

function* piecesOf(range: ByteRange, align: number): Generator<ByteRange> {
  const end = roundUp(range.offset + range.length, align);
  for (let at = roundDown(range.offset, align); at < end; at += WINDOW_BYTES) {
    yield { offset: at, length: Math.min(WINDOW_BYTES, end - at) };
  }
}

/** What of a window is lent. */
function viewOf(window: Buffer, start: number, { offset, length }: ByteRange): LentView {
  const from = Math.max(start, offset);
  const to = Math.min(start + window.length, offset + length);
  return { offset: from, bytes: window.subarray(from - start, to - start) };
}
