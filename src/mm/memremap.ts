import type { Device } from '../base/device.js';
import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { StaticKey } from '../lib/static-key.js';
import { PAGE_SIZE, PAGES_PER_PMD, PMD_SIZE, roundDown, roundUp } from '../lib/units.js';
import type { UsageRef } from '../lib/usage-ref.js';
import type { DevPagemap } from './dev-pagemap.js';

/** The end of the addresses that a number holds exactly, less the one that rounding up could reach. */
const ADDRESS_END = 2 ** 53 - PMD_SIZE;

/**
 * The pagemaps of one daemon, found by pfn; the count of those who need to hear of idle
 * pages; and the one way to put a page.
 *
 * @kernel kernel/memremap.c
 */
export class Memremap {
  /** False builds the driver without idle-page wakeups: DAX is refused on its pages. */
  readonly devPagemapOps: boolean;
  /** @kernel devmap_managed_key (kernel/memremap.c) */
  readonly devmapManagedKey = new StaticKey();
  /** Pages pinned since the start, a block as 512. */
  pinsTotal = 0;
  /** Idle edges since the start: one a page, one a block where it was pinned whole. */
  pageFreeTotal = 0;
  readonly #pagemaps: DevPagemap[] = [];

  constructor({ devPagemapOps }: { readonly devPagemapOps: boolean }) {
    this.devPagemapOps = devPagemapOps;
  }

  /**
   * Makes puts report idle pages, until put back as often.
   *
   * @kernel dev_pagemap_get_ops (kernel/memremap.c)
   */
  devPagemapGetOps(): void {
    if (this.devPagemapOps) this.devmapManagedKey.get();
  }

  /** @kernel dev_pagemap_put_ops (kernel/memremap.c) */
  devPagemapPutOps(): void {
    if (this.devPagemapOps) this.devmapManagedKey.put();
  }

  /**
   * Brings the pages of `pgmap` into being, each with a reference of the pagemap's own and
   * each holding one use of `pgmap.ref`. The device's release refuses new pins, and then
   * waits, however long it takes, until the last pin is gone.
   *
   * @throws DaxdError EINVAL without a ref; ENOMEM where another pagemap has a page in one
   *   of its 2 MiB blocks; ENXIO when the ref is dying already.
   * @kernel devm_memremap_pages (kernel/memremap.c)
   */
  async devmMemremapPages(device: Device, pgmap: DevPagemap): Promise<void> {
    const ref = pgmap.ref;
    if (ref === undefined) {
      throw new DaxdError(
        'EINVAL',
        `${device.name}: a pagemap needs a usage ref before it is mapped`,
      );
    }
    const other = this.#pagemaps.find((mapped) => shareBlock(mapped, pgmap));
    if (other !== undefined) {
      throw new DaxdError(
        'ENOMEM',
        `${device.name}: ${rangeText(pgmap)} shares a 2 MiB block with the pages at ${rangeText(other)}`,
      );
    }
    if (!ref.tryGet(pgmap.pages)) {
      throw new DaxdError('ENXIO', `${device.name}: its queue is shut, attach a new one`);
    }
    this.#pagemaps.push(pgmap);

    await device.devres.addActionOrReset('pagemap', () => this.#releasePages(pgmap, ref));
  }

  /**
   * The pagemap that holds `pfn`, with one use of its ref that the caller puts back;
   * undefined when there is none or it is dying.
   *
   * @kernel get_dev_pagemap (kernel/memremap.c)
   */
  getDevPagemap(pfn: number): DevPagemap | undefined {
    const pgmap = this.findPagemap(pfn);
    return pgmap?.ref?.tryGet() === true ? pgmap : undefined;
  }

  /** @kernel put_dev_pagemap (linux/memremap.h) */
  putDevPagemap(pgmap: DevPagemap): void {
    usageRef(pgmap).put();
  }

  /** The pagemap that holds `pfn`, dying or not, without a use: for a caller who has a pin there. */
  findPagemap(pfn: number): DevPagemap | undefined {
    const address = pfn * PAGE_SIZE;
    for (const pgmap of this.#pagemaps) {
      if (address >= pgmap.range.start && address < pgmap.range.start + pgmap.range.length) {
        return pgmap;
      }
    }
    return undefined;
  }

  /** The highest start, on 2 MiB, of `length` free bytes of address space: device memory has no address of its own. */
  freeAddressRange(length: number): number {
    let start = roundDown(ADDRESS_END - length, PMD_SIZE);
    const descending = this.#pagemaps.toSorted((a, b) => b.range.start - a.range.start);
    for (const { range } of descending) {
      if (roundUp(range.start + range.length, PMD_SIZE) <= start) break;
      start = roundDown(range.start, PMD_SIZE) - roundUp(length, PMD_SIZE);
    }
    assert(start >= 0, 'the address space has room for device memory');
    return start;
  }

  /**
   * Pins pages `[first, first + count)` of `pgmap`, by index. Whole aligned 2 MiB blocks
   * take one count on their head.
   *
   * @hot Once a pin.
   */
  getPages(pgmap: DevPagemap, first: number, count: number): void {
    const { refs } = pgmap;
    const end = first + count;
    let index = first;
    while (index < end) {
      if (index + PAGES_PER_PMD <= end && refs.isHead(index)) {
        refs.getBlock(index);
        index += PAGES_PER_PMD;
      } else {
        refs.get(index);
        index++;
      }
    }
    this.pinsTotal += count;
  }

  /**
   * Puts pages `[first, first + count)` of `pgmap`, by index: the one way to put, single
   * or in bulk. Blocks are put as {@link getPages} of the same run pinned them.
   *
   * @hot Once an unpin.
   * @kernel put_page (linux/mm.h), release_pages (mm/swap.c)
   */
  putPages(pgmap: DevPagemap, first: number, count: number): void {
    const { refs } = pgmap;
    const end = first + count;
    let index = first;
    while (index < end) {
      const pages = index + PAGES_PER_PMD <= end && refs.isHead(index) ? PAGES_PER_PMD : 1;
      if (!this.putDevmapManagedPage(pgmap, index, pages)) putGeneric(pgmap, index, pages);
      index += pages;
    }
  }

  /**
   * Puts one page, or the block whose head `index` is, and tells the driver when that made
   * a page idle.
   *
   * @returns false, and nothing is put, where nobody asked to hear of idle pages.
   * @hot Once a page or block of an unpin.
   * @kernel put_devmap_managed_page (linux/mm.h), __put_devmap_managed_page (kernel/memremap.c)
   */
  putDevmapManagedPage(pgmap: DevPagemap, index: number, pages: number): boolean {
    if (!this.devmapManagedKey.enabled || pgmap.type === undefined) return false;

    const idlePages = putGeneric(pgmap, index, pages);
    // Waiters test the count when they run, so the stores above come first. On a dying
    // pagemap the edge is 1 -> 0: the page is gone, not idle, and nobody is told. The false
    // idle that 2 -> 1 means there in the kernel of 2018 is left out: a pin remains.
    if (idlePages > 0 && !pgmap.refs.baseDropped) {
      this.pageFreeTotal++;
      pgmap.pageFree?.(index, pages);
    }
    return true;
  }

  /**
   * Drops the pagemap's own reference to each page; a pinned page keeps its use of the ref
   * until its last put. Only then do the pages leave the index.
   *
   * @kernel devm_memremap_pages_release (kernel/memremap.c), in the order of 5.3 and later
   */
  async #releasePages(pgmap: DevPagemap, ref: UsageRef): Promise<void> {
    ref.kill();
    pgmap.announceRemoval();
    ref.put(pgmap.refs.dropBase());
    await ref.whenZero();
    this.#pagemaps.splice(this.#pagemaps.indexOf(pgmap), 1);
  }
}

/**
 * Puts a page or block without telling anybody; a page that is gone for good gives back its
 * use of the pagemap's ref.
 *
 * @hot Once a page or block of an unpin.
 */
function putGeneric(pgmap: DevPagemap, index: number, pages: number): number {
  const { refs } = pgmap;
  const idlePages = pages === 1 ? refs.put(index) : refs.putBlock(index);
  if (idlePages > 0 && refs.baseDropped) usageRef(pgmap).put(idlePages);
  return idlePages;
}

function usageRef(pgmap: DevPagemap): UsageRef {
  assert(pgmap.ref !== undefined, 'a mapped pagemap has a usage ref');
  return pgmap.ref;
}

/** Pagemaps are kept apart by 2 MiB, as the kernel's sections are since 5.3. */
function shareBlock(a: DevPagemap, b: DevPagemap): boolean {
  return (
    roundDown(a.range.start, PMD_SIZE) < roundUp(b.range.start + b.range.length, PMD_SIZE) &&
    roundDown(b.range.start, PMD_SIZE) < roundUp(a.range.start + a.range.length, PMD_SIZE)
  );
}

function rangeText({ range }: DevPagemap): string {
  return `bytes ${range.start} to ${range.start + range.length}`;
}
