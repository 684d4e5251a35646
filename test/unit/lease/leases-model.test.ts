import * as fc from 'fast-check';
import t from 'tap';

import type { ByteRange } from '../../../src/lib/byte-range.js';
import type { Lease } from '../../../src/lease/lease.js';
import { assert } from '../../../src/lib/assert.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { FS_START, RAW_START, ask, askRaw, releaseAll, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';
import type { ToyFs } from './toy-fs.js';
import { testSeed, times } from '../../support/random-test.js';

const seed = testSeed(t);
const P = PAGE_SIZE;
/** Pages of the file by kind; two stretches that lie apart on the media. */
const FILE_RUNS = ['wwwuuww--w', 'wwwwww-w'];
const FILE_PAGES = FILE_RUNS.join('').length;

const bytes = fc.record({
  // Quarters of a page, so that edges fall on borders and between them.
  offset: fc.integer({ min: 0, max: FILE_PAGES * 4 - 1 }).map((quarter) => (quarter * P) / 4),
  length: fc.integer({ min: 1, max: 24 }).map((quarters) => (quarters * P) / 4),
});
const step = fc.oneof(
  fc.record({
    kind: fc.constantFrom('acquire' as const, 'acquireRaw' as const),
    access: fc.constantFrom('read' as const, 'write' as const),
    ttlMs: fc.integer({ min: 1000, max: 5000 }),
    range: bytes,
  }),
  fc.record({
    kind: fc.constantFrom('renew' as const, 'release' as const),
    which: fc.nat(20),
  }),
  fc.record({
    kind: fc.constant('releaseRanges' as const),
    which: fc.nat(20),
    ranges: fc.array(bytes, { maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 2000 }) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** A lease as a set of quarter pages, and nothing clever. */
interface NaiveLease {
  readonly lease: Lease;
  readonly raw: boolean;
  readonly ttlMs: number;
  /** First bytes of the quarter pages still lent. */
  readonly quarters: Set<number>;
  /** Pages that had a block at the grant. */
  readonly mapped: ReadonlySet<number>;
  deadlineMs: number;
  suspect: boolean;
}

function pinnedBy({ quarters, mapped }: NaiveLease): Set<number> {
  const pages = new Set<number>();
  for (const start of quarters) {
    const page = Math.floor(start / P);
    if (mapped.has(page)) pages.add(page);
  }
  return pages;
}

class Model {
  readonly all: NaiveLease[] = [];
  readonly held = new Set<NaiveLease>();

  pick(which: number): NaiveLease | undefined {
    return this.all[which % Math.max(1, this.all.length)];
  }

  lapse(nowMs: number): void {
    for (const naive of this.held) if (naive.deadlineMs <= nowMs) naive.suspect = true;
  }

  /** Every pinned page once for each lease on it, by "f" or "r" and its number. */
  counts(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const naive of this.held) {
      for (const page of pinnedBy(naive)) {
        const key = `${naive.raw ? 'r' : 'f'}${page}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
    return counts;
  }
}

/** The leases and the model side by side. */
class Pair {
  readonly #set: LeaseSetUp;
  readonly #file: ReturnType<ToyFs['create']>;
  readonly #model = new Model();

  constructor(set: LeaseSetUp) {
    this.#set = set;
    this.#file = set.fs.create('file', FILE_RUNS);
  }

  async apply(one: Step): Promise<void> {
    const { clock } = this.#set;
    if ('access' in one) return this.#acquire(one);
    if (one.kind === 'wait') {
      clock.advance(one.ms);
      return this.#model.lapse(clock.nowMs());
    }
    const naive = this.#model.pick(one.which);
    if (naive === undefined) return;
    if (one.kind === 'renew') this.#renew(naive);
    else await this.#release(naive, one.kind === 'releaseRanges' ? one.ranges : undefined);
  }

  check(): void {
    const { leases, pinnedPages } = this.#set;
    const counts = this.#model.counts();
    for (let page = 0; page < FILE_PAGES; page++) this.#checkPage(page, counts);
    assert(pinnedPages() === counts.size, 'no page elsewhere is pinned');
    assert(leases.size === this.#model.held.size, 'the same number of leases is held');
    for (const naive of this.#model.all) {
      const { state, pages } = naive.lease.view();
      const held = this.#model.held.has(naive);
      const heldState = naive.suspect ? 'suspect' : 'active';
      assert(
        state === (held ? heldState : 'released'),
        `${state} is the state of ${naive.lease.id}`,
      );
      assert(pages === (held ? pinnedBy(naive).size : 0), `${naive.lease.id} has ${pages} pages`);
    }
  }

  #checkPage(page: number, counts: ReadonlyMap<string, number>): void {
    const { leases, pgmap } = this.#set;
    const holders = counts.get(`f${page}`) ?? 0;
    const check = (start: number, pins: number): void => {
      const index = start / P - pgmap.firstPfn;
      assert(pgmap.refs.pageRefCount(index) === 1 + pins, `page ${page} has ${pins} pins`);
    };
    check(RAW_START + page * P, counts.get(`r${page}`) ?? 0);
    const block = this.#file.blocks.get(page)?.block;
    if (block !== undefined) check(FS_START + block * P, holders);
    const ids = leases.overlapping('pmem0p1', this.#file.inode, page * P, page * P + 1);
    assert(ids.length === holders, `page ${page} has ${holders} holders`);
  }

  async #acquire(one: Extract<Step, { access: unknown }>): Promise<void> {
    const { leases, clock } = this.#set;
    const raw = one.kind === 'acquireRaw';
    const { access, ttlMs } = one;
    const offset = one.range.offset;
    const length = Math.min(one.range.length, FILE_PAGES * P - offset);
    const wanted = { offset, length, access, ttlMs };
    const lease = await leases.acquire(raw ? askRaw(wanted) : ask(wanted));
    const mapped = new Set<number>();
    for (let page = 0; page < FILE_PAGES; page++) {
      if (raw || this.#file.blocks.get(page)?.unwritten === false) mapped.add(page);
    }
    const quarters = new Set<number>();
    for (let at = offset; at < offset + length; at += P / 4) quarters.add(at);
    const deadlineMs = clock.nowMs() + ttlMs;
    const naive = { lease, raw, ttlMs, quarters, mapped, deadlineMs, suspect: false };
    this.#model.all.push(naive);
    this.#model.held.add(naive);
  }

  async #release(naive: NaiveLease, ranges?: readonly ByteRange[]): Promise<void> {
    await this.#set.leases.release(naive.lease.id, ranges);
    for (const start of naive.quarters) {
      const gone = ranges?.some(({ offset, length }) => start >= offset && start < offset + length);
      if (gone ?? true) naive.quarters.delete(start);
    }
    if (naive.quarters.size === 0) this.#model.held.delete(naive);
  }

  #renew(naive: NaiveLease): void {
    const { leases, clock } = this.#set;
    if (!this.#model.held.has(naive)) {
      t.throws(() => leases.renew(naive.lease.id), { name: 'DaxdError', code: 'ENOENT' });
      return;
    }
    leases.renew(naive.lease.id);
    naive.suspect = false;
    naive.deadlineMs = clock.nowMs() + naive.ttlMs;
  }
}

async function run(steps: readonly Step[]): Promise<void> {
  const set = await setUpLeases();
  const pair = new Pair(set);
  for (const one of steps) {
    await pair.apply(one);
    pair.check();
  }
  await releaseAll(set.leases);
  assert(set.pinnedPages() === 0 && set.clock.timers === 0, 'nothing is left behind');
}

t.test('leases: the page counts equal the leases after every random step', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), run), {
    seed,
    numRuns: times(150),
  });
  t.pass(`seed ${seed}`);
});
