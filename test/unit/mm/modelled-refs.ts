import { PageRefs } from '../../../src/mm/page-refs.js';

/** What can be done to a count. `splitBlock` has no inverse. */
export const VERBS = ['get', 'put', 'getBlock', 'putBlock', 'splitBlock'] as const;
/** One of {@link VERBS}. */
export type Verb = (typeof VERBS)[number];

/** Page counts beside a model that keeps one plain number a page and one a block. */
export class ModelledRefs {
  readonly refs: PageRefs;
  readonly #pages: number;
  readonly #firstPfn: number;
  readonly #own: number[];
  readonly #heads = new Map<number, number>();

  constructor(pages: number, firstPfn: number) {
    this.refs = new PageRefs(pages, firstPfn);
    this.#pages = pages;
    this.#firstPfn = firstPfn;
    this.#own = Array.from({ length: pages }, () => 0);
  }

  /**
   * Does one step to both, on page `index` or its block.
   *
   * @returns false, with nothing done, where the step is not possible.
   * @throws where the counts tell another number of pages that went idle than the model.
   */
  take(verb: Verb, index: number): boolean {
    const head = Math.floor((this.#firstPfn + index) / 512) * 512 - this.#firstPfn;
    if (!this.#allows(verb, index, head)) return false;
    const busy = this.#busy(0, this.#pages);
    const made = this.#apply(verb, index, head);
    const idle = busy.filter((page) => this.#count(page) === 1).length;
    if (made !== idle) throw new Error(`${verb} ${index} made ${made} pages idle, not ${idle}`);
    return true;
  }

  /** Whether counts and model agree on pages `[first, first + count)`. */
  agrees(first: number, count: number): boolean {
    const busy = this.#busy(first, count);
    const idle = Array.from({ length: count }, (_, i) => first + i).find((p) => !busy.includes(p));
    return (
      this.refs.firstIdle(first, count) === idle &&
      PageRefs.onlooker(this.refs.shared).firstBusy(first, count) === busy[0] &&
      this.refs.firstBusy(first, count) === busy[0] &&
      this.refs.pinnedPages(first, count) === busy.length &&
      this.#runsAgree(first, count, new Set(busy)) &&
      busy.every((page) => this.refs.pageRefCount(page) === this.#count(page))
    );
  }

  /** Whether the runs cover all pages in order, and no neighbours are alike. */
  #runsAgree(first: number, count: number, busy: ReadonlySet<number>): boolean {
    let at = first;
    for (const run of this.refs.runs(first, count)) {
      if (run.first !== at || run.count < 1) return false;
      for (; at < run.first + run.count; at++) if (busy.has(at) !== run.isPinned) return false;
      if (at < first + count && busy.has(at) === run.isPinned) return false;
    }
    return at === first + count;
  }

  #allows(verb: Verb, index: number, head: number): boolean {
    if (verb === 'get') return true;
    if (verb === 'put') return (this.#own[index] ?? 0) > 0;
    if (verb === 'getBlock') return head >= 0 && head + 512 <= this.#pages;
    return (this.#heads.get(head) ?? 0) > 0;
  }

  #apply(verb: Verb, index: number, head: number): number {
    if (verb === 'put') {
      this.#addOwn(index, -1);
      return this.refs.put(index);
    }
    if (verb === 'putBlock') {
      this.#addHead(head, -1);
      return this.refs.putBlock(head);
    }
    if (verb === 'get') {
      this.#addOwn(index, 1);
      this.refs.get(index);
    } else if (verb === 'getBlock') {
      this.#addHead(head, 1);
      this.refs.getBlock(head);
    } else {
      for (let page = head; page < head + 512; page++) this.#addOwn(page, 1);
      this.#addHead(head, -1);
      this.refs.splitBlock(head);
    }
    return 0;
  }

  #addOwn(index: number, change: number): void {
    this.#own[index] = (this.#own[index] ?? 0) + change;
  }

  #addHead(head: number, change: number): void {
    this.#heads.set(head, (this.#heads.get(head) ?? 0) + change);
  }

  #count(index: number): number {
    const head = Math.floor((this.#firstPfn + index) / 512) * 512 - this.#firstPfn;
    return 1 + (this.#own[index] ?? 0) + (this.#heads.get(head) ?? 0);
  }

  #busy(first: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => first + i).filter((i) => this.#count(i) > 1);
  }
}
