import { assert } from '../lib/assert.js';
import { PAGES_PER_PMD } from '../lib/units.js';

/** A page's count when nobody pins it, in the kernel's convention of 2018. */
const REFS_IDLE = 1;

const COUNT_MAX = 2 ** 31 - 1;

/** The counts of a {@link PageRefs}, to be looked at from another thread. */
export interface SharedPageRefs {
  readonly pages: number;
  readonly firstPfn: number;
  readonly own: SharedArrayBuffer;
  readonly head: SharedArrayBuffer;
  readonly ownInBlock: SharedArrayBuffer;
}

/** Neighbouring pages that are all pinned, or all idle. */
interface PinRun {
  readonly first: number;
  readonly count: number;
  readonly isPinned: boolean;
}

/**
 * Reference counts of the data pages of one pagemap, by page index (0 is its first page).
 *
 * What is stored is pins, so that zero means idle and a page never pinned costs no memory.
 * A 2 MiB block pinned whole takes one count on its head. Blocks are aligned by pfn, that
 * is by address and not by index: the first and the last block may be cut short, and a
 * block that is cut short is never pinned whole.
 *
 * Invariants:
 * - `pageRefCount(i)` is the base (1 until {@link dropBase}, then 0) + own pins + its head's pins;
 * - `#ownInBlock[b]` is the number of pages of block b whose own pins are above zero.
 *
 * @kernel struct page::_refcount (linux/mm_types.h)
 */
export class PageRefs {
  readonly pages: number;
  /**
   * What another thread needs to look at the counts. It only reads, and what it reads may
   * change while it looks: what must hold is decided on the thread that pins.
   */
  readonly shared: SharedPageRefs;
  /** Pins a page of its own. */
  readonly #own: Int32Array;
  /** Pins a block as a whole. */
  readonly #head: Int32Array;
  readonly #ownInBlock: Int32Array;
  /** Pages between the start of block 0 and page 0. */
  readonly #skew: number;
  #base = REFS_IDLE;

  /**
   * @param pages how many pages the pagemap has, 1 or more; below 2 ** 32 (16 TiB).
   * @param firstPfn the pfn of page 0, which decides where blocks start.
   */
  constructor(pages: number, firstPfn: number, shared = idleCounts(pages, firstPfn)) {
    this.pages = pages;
    this.shared = shared;
    this.#skew = firstPfn % PAGES_PER_PMD;
    this.#own = new Int32Array(shared.own);
    this.#head = new Int32Array(shared.head);
    this.#ownInBlock = new Int32Array(shared.ownInBlock);
  }

  /** The counts of another thread, for queries alone. */
  static onlooker(shared: SharedPageRefs): PageRefs {
    return new PageRefs(shared.pages, shared.firstPfn, shared);
  }

  /** Whether the pagemap has given up its own reference to each page: it is going away. */
  get baseDropped(): boolean {
    return this.#base === 0;
  }

  /** Whether page `index` is the head of a block that lies whole in the pagemap. */
  isHead(index: number): boolean {
    return (this.#skew + index) % PAGES_PER_PMD === 0 && index + PAGES_PER_PMD <= this.pages;
  }

  /**
   * The count that the kernel would show: 1 is idle, 0 only after {@link dropBase}.
   *
   * @kernel page_ref_count (linux/page_ref.h)
   */
  pageRefCount(index: number): number {
    return this.#base + this.#pins(index);
  }

  /** Whether nobody pins the page, by itself or with its block. */
  isIdle(index: number): boolean {
    return this.#pins(index) === 0;
  }

  /** The index of the first pinned page of `[first, first + count)`. Skips idle blocks whole. */
  firstBusy(first: number, count: number): number | undefined {
    this.#assertInside(first, count);
    const end = first + count;
    for (let index = first; index < end; index = this.#blockEnd(index)) {
      const block = this.#blockOf(index);
      if (load(this.#head, block) > 0) return index;
      if (load(this.#ownInBlock, block) === 0) continue;
      const stop = Math.min(end, this.#blockEnd(index));
      for (let page = index; page < stop; page++) if (load(this.#own, page) > 0) return page;
    }
    return undefined;
  }

  /** The index of the first page of `[first, first + count)` that nobody pins. */
  firstIdle(first: number, count: number): number | undefined {
    this.#assertInside(first, count);
    const end = first + count;
    for (let index = first; index < end; index++) {
      if (this.isIdle(index)) return index;
      if (load(this.#head, this.#blockOf(index)) > 0) index = this.#blockEnd(index) - 1;
    }
    return undefined;
  }

  /** The pages of `[first, first + count)` in runs, ascending, each as it is when it is asked for. */
  *runs(first: number, count: number): Generator<PinRun> {
    this.#assertInside(first, count);
    const end = first + count;
    for (let at = first; at < end;) {
      const isPinned = !this.isIdle(at);
      const next = isPinned ? this.firstIdle(at, end - at) : this.firstBusy(at, end - at);
      // Pinned or put by another thread meanwhile, a page is its own next: it counts as it was seen.
      const stop = Math.max(next ?? end, at + 1);
      yield { first: at, count: stop - at, isPinned };
      at = stop;
    }
  }

  /** How many distinct pages of `[first, first + count)` are pinned. Takes a step a block. */
  pinnedPages(first: number, count: number): number {
    this.#assertInside(first, count);
    const end = first + count;
    let pinned = 0;
    for (let index = first; index < end; index = this.#blockEnd(index)) {
      pinned += this.#pinnedInBlock(index, Math.min(end, this.#blockEnd(index)));
    }
    return pinned;
  }

  /**
   * Pins page `index`.
   *
   * @hot Once a page of a pin that is not a whole block.
   * @kernel get_page (linux/mm.h)
   */
  get(index: number): void {
    const own = load(this.#own, index);
    assert(own < COUNT_MAX, 'a page count does not overflow');
    this.#own[index] = own + 1;
    if (own === 0) {
      const block = this.#blockOf(index);
      this.#ownInBlock[block] = load(this.#ownInBlock, block) + 1;
    }
  }

  /**
   * Takes back one {@link get}.
   *
   * @returns how many pages are idle that were not before: 0 or 1.
   * @hot Once a page of an unpin that is not a whole block.
   */
  put(index: number): number {
    const own = load(this.#own, index) - 1;
    assert(own >= 0, 'each put of a page pairs with one earlier get');
    this.#own[index] = own;
    if (own > 0) return 0;

    const block = this.#blockOf(index);
    this.#ownInBlock[block] = load(this.#ownInBlock, block) - 1;
    return load(this.#head, block) === 0 ? 1 : 0;
  }

  /**
   * Pins the whole block whose head is page `index`.
   *
   * @hot Once 2 MiB of a pin.
   */
  getBlock(index: number): void {
    assert(this.isHead(index), 'a block is pinned by its head, and whole');
    const block = this.#blockOf(index);
    const head = load(this.#head, block);
    assert(head < COUNT_MAX, 'a block count does not overflow');
    this.#head[block] = head + 1;
  }

  /**
   * Takes back one {@link getBlock}.
   *
   * @returns how many pages are idle that were not before: those without a pin of their own.
   * @hot Once 2 MiB of an unpin.
   */
  putBlock(index: number): number {
    assert(this.isHead(index), 'a block is put by its head, and whole');
    const block = this.#blockOf(index);
    const head = load(this.#head, block) - 1;
    assert(head >= 0, 'each put of a block pairs with one earlier get');
    this.#head[block] = head;
    return head === 0 ? PAGES_PER_PMD - load(this.#ownInBlock, block) : 0;
  }

  /**
   * Turns one pin of the block at `index` into one pin of each of its pages. The pages are
   * pinned first, so that no page passes through idle.
   */
  splitBlock(index: number): void {
    for (let page = index; page < index + PAGES_PER_PMD; page++) this.get(page);
    const idle = this.putBlock(index);
    assert(idle === 0, 'splitting a block leaves all its pages pinned');
  }

  /**
   * Gives up the pagemap's own reference to every page, as teardown does.
   *
   * @returns how many pages nobody pins: those are gone now, each other one goes with its last put.
   */
  dropBase(): number {
    assert(this.#base === REFS_IDLE, 'the base reference is dropped once');
    this.#base = 0;
    return this.pages - this.pinnedPages(0, this.pages);
  }

  #pins(index: number): number {
    return load(this.#own, index) + load(this.#head, this.#blockOf(index));
  }

  /** Pinned pages of `[index, stop)`, which lies in one block. */
  #pinnedInBlock(index: number, stop: number): number {
    const block = this.#blockOf(index);
    if (load(this.#head, block) > 0) return stop - index;
    const own = load(this.#ownInBlock, block);
    if (own === 0 || stop - index === PAGES_PER_PMD) return own;
    let pinned = 0;
    for (let page = index; page < stop; page++) if (load(this.#own, page) > 0) pinned++;
    return pinned;
  }

  #blockOf(index: number): number {
    return Math.floor((this.#skew + index) / PAGES_PER_PMD);
  }

  /** The index where the block after that of `index` starts. */
  #blockEnd(index: number): number {
    return (this.#blockOf(index) + 1) * PAGES_PER_PMD - this.#skew;
  }

  #assertInside(first: number, count: number): void {
    assert(
      first >= 0 && count >= 0 && first + count <= this.pages,
      `pages ${first} + ${count} lie inside the pagemap's ${this.pages}`,
    );
  }
}

/** Of the zeros only touched pages take memory. */
function idleCounts(pages: number, firstPfn: number): SharedPageRefs {
  assert(Number.isSafeInteger(pages) && pages > 0, `a pagemap has pages, not ${pages}`);
  assert(Number.isSafeInteger(firstPfn) && firstPfn >= 0, `${firstPfn} is a pfn`);
  const blocks = Math.ceil(((firstPfn % PAGES_PER_PMD) + pages) / PAGES_PER_PMD);
  return { pages, firstPfn, own: zeros(pages), head: zeros(blocks), ownInBlock: zeros(blocks) };
}

function zeros(counts: number): SharedArrayBuffer {
  return new SharedArrayBuffer(counts * Int32Array.BYTES_PER_ELEMENT);
}

/** @hot Once or more a page or block. */
function load(counts: Int32Array, index: number): number {
  const count = counts[index];
  assert(count !== undefined, 'the page lies inside the pagemap');
  return count;
}
