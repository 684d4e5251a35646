import * as fc from 'fast-check';
import t from 'tap';

import type { LayoutChangeRequest, PendingChange } from '../../../src/dax/layout-change.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { setUpLayouts, truncateOf, watch, type LaidOutPages, type Watched } from './set-up.js';
import { testSeed, times } from '../../support/random-test.js';
import { settle } from '../../support/settle.js';

t.test(
  'breakLayouts: random changes, pins and exits keep the order and leave nothing',
  async (t) => {
    const seed = testSeed(t);
    const step = fc.tuple(
      fc.constantFrom('change', 'pin', 'unpin', 'lift', 'cancel', 'settle'),
      fc.nat(20),
      fc.integer({ min: 1, max: 8 }),
    );
    const property = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const set = await setUpLayouts();
      const run = new RandomRun(set);
      for (const [verb, page, count] of steps) await run.take(verb, page, count);
      await run.finish();
      return set.layouts.size === 0 && set.waiters.size === 0 && run.faults.length === 0;
    });
    await fc.assert(property, { seed, numRuns: times(150) });
  },
);

/** Drives changes of one inode and checks, whenever one breaks, that it was its turn. */
class RandomRun {
  readonly faults: string[] = [];
  readonly #set: LaidOutPages;
  readonly #pins: number[] = [];
  readonly #changes: { request: LayoutChangeRequest; watched: Watched; lifted: boolean }[] = [];

  constructor(set: LaidOutPages) {
    this.#set = set;
  }

  async take(verb: string, page: number, count: number): Promise<void> {
    if (verb === 'change') this.#change(page, count);
    else if (verb === 'pin') this.#pin(page);
    else if (verb === 'unpin') this.#unpin(page);
    else if (verb === 'lift') this.#lift(page);
    else if (verb === 'cancel') this.#pending(page)?.cancel();
    else await settle();
    this.#check();
  }

  /** Lets all pins go and lifts until nobody is left. */
  async finish(): Promise<void> {
    while (this.#pins.length > 0) this.#unpin(0);
    do {
      await settle();
      this.#check();
    } while (this.#lift(0));
    const unended = this.#changes.some(
      ({ watched }) => watched.layout === undefined && watched.error === undefined,
    );
    if (unended) this.faults.push('a change never ended');
  }

  #change(page: number, count: number): void {
    const request = truncateOf(page, count);
    const watched = watch(this.#set.layouts.breakLayouts(request));
    this.#changes.push({ request, watched, lifted: false });
  }

  #pin(page: number): void {
    // As a lease does: never over a pending change.
    if (this.#set.layouts.pendingOver(12, page * PAGE_SIZE, (page + 1) * PAGE_SIZE)) return;
    this.#set.pin(page);
    this.#pins.push(page);
  }

  #unpin(n: number): void {
    const [page] = this.#pins.splice(n % this.#pins.length, 1);
    if (page !== undefined) this.#set.unpin(page);
  }

  #lift(n: number): boolean {
    const broken = this.#changes.filter(
      ({ watched, lifted }) => watched.layout !== undefined && !lifted,
    );
    const change = broken[n % broken.length];
    if (change === undefined) return false;
    change.watched.layout?.assertIdle();
    change.watched.layout?.lift();
    change.lifted = true;
    return true;
  }

  #pending(n: number): PendingChange | undefined {
    const pending = [...this.#set.layouts.pending];
    return pending[n % pending.length];
  }

  #check(): void {
    for (const [i, { request, watched, lifted }] of this.#changes.entries()) {
      if (watched.layout === undefined || lifted) continue;
      const earlier = this.#changes
        .slice(0, i)
        .find(
          (other) =>
            overlap(other.request, request) && !other.lifted && other.watched.error === undefined,
        );
      if (earlier) this.faults.push(`${request.from} overtook ${earlier.request.from}`);
    }
  }
}

function overlap(a: LayoutChangeRequest, b: LayoutChangeRequest): boolean {
  return a.from < b.to && b.from < a.to;
}
