import type { PhysRange } from '../base/mem-regions.js';

/**
 * The bytes of one device that must not be read, within a window of the backing. A file has
 * none.
 *
 * @kernel struct badblocks (linux/badblocks.h)
 */
export class Badblocks {
  readonly #window: PhysRange;
  readonly #bad: PhysRange[] = [];

  /** @param window what the list can hold, in bytes of the backing */
  constructor(window: PhysRange) {
    this.#window = window;
  }

  /** How many ranges are bad. */
  get count(): number {
    return this.#bad.length;
  }

  /** Takes the part of `range` that lies in the window. @kernel badblocks_set (block/badblocks.c) */
  set(range: PhysRange): void {
    const start = Math.max(range.start, this.#window.start);
    const end = Math.min(range.start + range.length, this.#window.start + this.#window.length);
    if (end > start) this.#bad.push({ start, length: end - start });
  }

  /** The first bad range that shares a byte with `range`. @kernel badblocks_check (block/badblocks.c) */
  check(range: PhysRange): PhysRange | undefined {
    return this.#bad.find(
      (bad) => bad.start < range.start + range.length && range.start < bad.start + bad.length,
    );
  }
}
