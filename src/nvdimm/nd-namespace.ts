import type { PhysRange } from '../base/mem-regions.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { Backing } from '../media/backing.js';
import { BackingRange } from '../media/backing-range.js';

/**
 * The whole of one backing, as the drivers that look for an info block see it. Its bytes
 * can be read only until a pmem device takes them over.
 *
 * @kernel struct nd_namespace_common, struct nd_namespace_io (linux/nd.h)
 */
export class NdNamespace {
  readonly backing: Backing;
  /** Bytes of the backing known to be bad; none on a file. */
  readonly badRanges: readonly PhysRange[];
  #raw: BackingRange | undefined;

  constructor(backing: Backing, badRanges: readonly PhysRange[] = []) {
    this.backing = backing;
    this.badRanges = badRanges;
  }

  get sizeBytes(): number {
    return this.backing.sizeBytes;
  }

  /**
   * @throws DaxdError ENODEV when the backing is smaller than a page.
   * @kernel nvdimm_namespace_common_probe (drivers/nvdimm/namespace_devs.c)
   */
  commonProbe(): void {
    if (this.sizeBytes >= PAGE_SIZE) return;
    throw new DaxdError(
      'ENODEV',
      `${this.backing.path}: ${this.sizeBytes} bytes are less than a page of ${PAGE_SIZE}`,
    );
  }

  /** @kernel devm_nsio_enable (drivers/nvdimm/claim.c) */
  enableRawAccess(): void {
    this.#raw = new BackingRange(this.backing, 0, this.sizeBytes);
  }

  /** From now on only the pmem device reads and writes these bytes. @kernel devm_nsio_disable */
  disableRawAccess(): void {
    this.#raw = undefined;
  }

  /**
   * Reads `length` bytes; fewer than the namespace has must be asked for.
   *
   * @throws DaxdError ENXIO when raw access is off, the range passes the end, or a bad block
   * lies in it.
   * @kernel nvdimm_read_bytes, nsio_rw_bytes (drivers/nvdimm/claim.c)
   */
  readBytes(offset: number, length: number): Buffer {
    if (this.#raw === undefined || offset + length > this.sizeBytes) {
      throw new DaxdError(
        'ENXIO',
        `${this.backing.path}: ${length} bytes at ${offset} cannot be read raw`,
      );
    }
    const bad = this.badRanges.find(
      (range) => range.start < offset + length && offset < range.start + range.length,
    );
    if (bad !== undefined) {
      throw new DaxdError(
        'ENXIO',
        `${this.backing.path}: a bad block at ${bad.start} lies in the ${length} bytes at ${offset}`,
      );
    }
    const bytes = Buffer.alloc(length);
    this.#raw.read(offset, bytes);
    return bytes;
  }
}
