import { setMaxListeners } from 'node:events';

import type { PhysRange } from '../base/mem-regions.js';
import { assert } from '../lib/assert.js';
import { PAGE_SIZE, isAligned } from '../lib/units.js';
import type { UsageRef } from '../lib/usage-ref.js';
import { PageRefs } from './page-refs.js';

/**
 * What a pagemap's pages are for.
 *
 * @kernel enum memory_type: MEMORY_DEVICE_PRIVATE, _PUBLIC, _FS_DAX (linux/memremap.h)
 */
export const MemoryType = { Private: 1, Public: 2, FsDax: 3 } as const;
/** A value of {@link MemoryType}. */
export type MemoryType = (typeof MemoryType)[keyof typeof MemoryType];

/**
 * Told that pages `[index, index + pages)` had their last pin taken away: one page, or the
 * 512 of a block that was pinned whole, of which some may be pinned still by themselves.
 *
 * @kernel dev_page_free_t (linux/memremap.h)
 */
export type PageFree = (index: number, pages: number) => void;

/** What {@link DevPagemap} is made from. */
export interface DevPagemapOptions {
  /** The bytes of the backing that the pagemap covers; start and length are whole pages. */
  readonly range: PhysRange;
  /** Bytes at the start of the range that hold no data (info block, memmap): they have no counts. */
  readonly reservedBytes?: number;
  /** Counts the uses of the device; may be set later, but before the pages are mapped. */
  readonly ref?: UsageRef;
}

/**
 * The pages of one device: one pagemap a device, whatever partitions it has.
 *
 * @kernel struct dev_pagemap (linux/memremap.h)
 */
export class DevPagemap {
  readonly range: PhysRange;
  /** The pfn of the first data page: page index 0. */
  readonly firstPfn: number;
  /** How many data pages there are. */
  readonly pages: number;
  readonly refs: PageRefs;
  /** Page pins and block I/O share it; it ends with the last of them. */
  ref: UsageRef | undefined;
  /** Left undefined by a driver whose pages report nothing. */
  type: MemoryType | undefined;
  pageFree: PageFree | undefined;
  readonly #removal = new AbortController();

  constructor({ range, reservedBytes = 0, ref }: DevPagemapOptions) {
    assert(
      isAligned(range.start, PAGE_SIZE) &&
        isAligned(range.length, PAGE_SIZE) &&
        isAligned(reservedBytes, PAGE_SIZE),
      `a pagemap covers whole pages, not ${range.start} + ${range.length}, ${reservedBytes} reserved`,
    );
    // Every change that waits for a page follows it.
    setMaxListeners(0, this.#removal.signal);
    // Stays, so that the signal's own table of listeners never runs empty: see Buckets.
    this.#removal.signal.addEventListener('abort', () => {});
    this.range = range;
    this.firstPfn = (range.start + reservedBytes) / PAGE_SIZE;
    this.pages = (range.length - reservedBytes) / PAGE_SIZE;
    this.refs = new PageRefs(this.pages, this.firstPfn);
    this.ref = ref;
  }

  /** Whether the device is going away: no new pin, no new wait. */
  get dying(): boolean {
    return this.ref?.dying ?? false;
  }

  /** Aborted when teardown starts, so that those who wait for its pages can leave. */
  get removal(): AbortSignal {
    return this.#removal.signal;
  }

  /** Whether `[firstPfn, firstPfn + count)` are data pages of this pagemap. */
  holds(firstPfn: number, count: number): boolean {
    return firstPfn >= this.firstPfn && firstPfn + count <= this.firstPfn + this.pages;
  }

  /** Whether nobody pins page `pfn`. */
  isIdlePfn(pfn: number): boolean {
    return this.refs.isIdle(pfn - this.firstPfn);
  }

  /** Tells those who wait for its pages that teardown has begun. For {@link Memremap} alone. */
  announceRemoval(): void {
    this.#removal.abort();
  }
}
