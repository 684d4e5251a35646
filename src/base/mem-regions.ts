import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { Device } from './device.js';

/**
 * Bytes [start, start + length) of a backing, half open; the kernel's end is inclusive.
 *
 * @kernel struct resource (linux/ioport.h)
 */
export interface PhysRange {
  readonly start: number;
  readonly length: number;
}

/** The ranges of one backing that a driver has claimed, each by name. No two overlap. */
export class MemRegions {
  readonly #claims: { readonly range: PhysRange; readonly name: string }[] = [];

  /**
   * Claims `range`, which is not empty, for `name`.
   *
   * @throws DaxdError EBUSY when any byte of it is claimed already.
   * @kernel __request_region (kernel/resource.c)
   */
  request(range: PhysRange, name: string): void {
    assert(range.start >= 0 && range.length > 0, 'a claimed range has at least one byte');
    const other = this.#claims.find((claim) => overlap(claim.range, range));
    if (other) {
      throw new DaxdError(
        'EBUSY',
        `${name}: bytes ${text(range)} overlap ${text(other.range)}, which ${other.name} claims: ` +
          'detach that first',
      );
    }
    this.#claims.push({ range, name });
  }

  /**
   * Gives back exactly what one earlier request claimed.
   *
   * @kernel __release_region (kernel/resource.c)
   */
  release(range: PhysRange): void {
    const at = this.#claims.findIndex(
      (claim) => claim.range.start === range.start && claim.range.length === range.length,
    );
    assert(at >= 0, 'a region is released once, as it was requested');
    this.#claims.splice(at, 1);
  }
}

/**
 * Claims `range` for `device` until it detaches.
 *
 * @throws DaxdError EBUSY when any byte of it is claimed already.
 * @kernel devm_request_mem_region (kernel/resource.c)
 */
export async function devmRequestMemRegion(
  device: Device,
  regions: MemRegions,
  range: PhysRange,
): Promise<void> {
  regions.request(range, device.name);
  await device.devres.addActionOrReset('mem region', () => {
    regions.release(range);
  });
}

function overlap(a: PhysRange, b: PhysRange): boolean {
  return a.start < b.start + b.length && b.start < a.start + a.length;
}

function text({ start, length }: PhysRange): string {
  return `[${start}, ${start + length})`;
}
