import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';

/** A page of a device and how many follow it without a break. */
export interface DirectAccess {
  readonly pfn: number;
  /** Pages valid from `pfn` on, it included. */
  readonly available: number;
}

/**
 * What the driver behind a {@link DaxDevice} answers.
 *
 * @kernel struct dax_operations (linux/dax.h)
 */
export interface DaxOperations {
  /**
   * Where page `pageOffset` of the disk lies. `available` may exceed `pages`, or fall short
   * of it: a caller loops.
   *
   * @throws DaxdError EIO when a bad block lies in the range.
   */
  directAccess(pageOffset: number, pages: number): DirectAccess;
}

/**
 * The direct way to a disk's pages, for as long as the disk lives.
 *
 *     alive --kill--> dead
 *
 * @kernel struct dax_device, alloc_dax, kill_dax (drivers/dax/super.c)
 */
export class DaxDevice {
  /** The disk's name. */
  readonly host: string;
  readonly #operations: DaxOperations;
  #alive = true;

  constructor(host: string, operations: DaxOperations) {
    this.host = host;
    this.#operations = operations;
  }

  /** @kernel dax_alive (drivers/dax/super.c) */
  get alive(): boolean {
    return this.#alive;
  }

  /** Refuses every later access. May be called more than once. */
  kill(): void {
    this.#alive = false;
  }

  /**
   * The page at `pageOffset` (in pages from byte 0 of the disk), and how many of the `pages`
   * wanted (1 or more) follow it.
   *
   * @throws DaxdError ENXIO once the device is killed, ERANGE where it has no page, and what
   *   the driver throws.
   * @kernel dax_direct_access (drivers/dax/super.c)
   */
  directAccess(pageOffset: number, pages: number): DirectAccess {
    assert(pages >= 1 && pageOffset >= 0, `${pages} pages at ${pageOffset} can be asked for`);
    if (!this.#alive) throw new DaxdError('ENXIO', `${this.host} is gone, attach it again`);

    const { pfn, available } = this.#operations.directAccess(pageOffset, pages);
    if (available < 1) {
      throw new DaxdError('ERANGE', `${this.host} has no page ${pageOffset}`);
    }
    return { pfn, available: Math.min(available, pages) };
  }
}
