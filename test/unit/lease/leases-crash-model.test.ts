/**
 * Random clients, changes, restarts, crashes, jumps of the clock and stalls of the store, against
 * a model that knows each lease as a set of pages. After each step: the page counts are those of
 * the leases, no acknowledged lease is forgotten and no released one is back, none has lapsed whose
 * holder renewed it in time, nor comes back for ever, no change is through while a page of it is
 * pinned, and none waits past its deadline.
 */
import t from 'tap';

import type { BrokenLayout } from '../../../src/dax/broken-layout.js';
import { assert } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import type { PfnRun } from '../../../src/mm/gup.js';
import { testSeed, times } from '../../support/random-test.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { settle } from '../../support/settle.js';
import type { LeaseState } from '../../../src/lease/lease-state.js';
import { NOTE_LAG_MS, RESTART_GRACE_MS } from '../../../src/lease/limits.js';
import { emptyDisk } from './memory-store.js';
import { FS_START, HandClock, ask, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';
import { ToyFs } from './toy-fs.js';

const P = PAGE_SIZE;
const STEPS = times(5_000, 100_000);
const PAGES = 12;
const TTL_MS = 20_000;

/** What is known of a lease that was granted. */
interface Known {
  readonly pages: Set<number>;
  /** Its pages left the file: it keeps them, and cannot be renewed. */
  isQuarantined: boolean;
  /** When it was renewed last, or granted. */
  renewedMs: number;
  /** The first start since. */
  startMs?: number | undefined;
  /** Whether some of it was released since: a sign of life, with which the grace counts anew. */
  isShrunk?: boolean;
}

/** A change that waits, or is through and not lifted yet. */
interface Change {
  readonly from: number;
  readonly to: number;
  readonly deadlineMs: number;
  readonly abort: AbortController;
  layout: BrokenLayout | undefined;
  isOver: boolean;
}

class World {
  readonly #random: SeededRandom;
  readonly #disk = emptyDisk();
  readonly #fs = new ToyFs(false);
  readonly #known = new Map<string, Known>();
  readonly #gone = new Set<string>();
  /** The page of the file that each of its pages was first: pages that moved away are gone. */
  readonly #places: number[];
  readonly counts = { granted: 0, conflicts: 0, through: 0, late: 0, crashes: 0, quarantined: 0 };
  #clock = new HandClock();
  #startMs = 0;
  #changes: Change[] = [];
  #set!: LeaseSetUp;

  constructor(random: SeededRandom) {
    this.#random = random;
    const file = this.#fs.create('file', ['w'.repeat(PAGES)]);
    this.#places = [...file.blocks.values()].map(({ block }) => block);
  }

  /** A daemon on what the one before left; what it had in memory is gone. */
  async start(): Promise<void> {
    // A renewal in the millisecond of a start would count as one behind it.
    const nowMs = this.#clock.nowMs() + 1;
    this.#startMs = nowMs;
    for (const known of this.#known.values()) known.startMs ??= nowMs;
    // Timers of the process before went with it.
    this.#clock = new HandClock();
    this.#clock.advance(nowMs - this.#clock.nowMs());
    this.#changes = [];
    this.#set = await setUpLeases({ disk: this.#disk, clock: this.#clock, fs: this.#fs });
    await this.#set.leases.restore();
    const target = this.#set.targets.get('pmem0p1');
    assert(target?.kind === 'filesystem', 'the toy filesystem is mounted');
    const reason = await this.#set.leases.quarantine.verify('pmem0p1', target, () => {});
    assert(reason === undefined, `nothing moved without a word: ${reason}`);
  }

  async step(): Promise<void> {
    const kind = this.#random.below(100);
    if (kind < 30) await this.#acquire();
    else if (kind < 50) await this.#release();
    else if (kind < 65) this.#renew();
    else if (kind < 75) this.#begin();
    else if (kind < 78) this.#pick(this.#changes)?.abort.abort();
    else if (kind < 90) this.#clock.advance(this.#random.below(TTL_MS / 2));
    else if (kind < 92) this.#clock.advance(10 * TTL_MS);
    else if (kind < 95) await this.#defer(true);
    else if (kind < 97) await this.#stall();
    else await this.#restart();
    await settle();
    this.#lift();
  }

  check(): void {
    const { leases, pgmap, pinnedPages } = this.#set;
    assert(leases.size === this.#known.size, 'as many leases are held as are known');
    const pins = new Map<number, number>();
    for (const [id, known] of this.#known) {
      const { pages, isQuarantined } = known;
      const { state, pages: count } = leases.get(id).view();
      assert(state !== 'released', `${id} is held`);
      assert((state === 'quarantined') === isQuarantined, `${id} is ${state}`);
      assert(count === pages.size, `${id} has ${count} pages, not ${pages.size}`);
      this.#checkRights(known, leases.get(id).state);
      for (const page of pages) pins.set(page, (pins.get(page) ?? 0) + 1);
    }
    for (let page = 0; page < PAGES; page++) {
      const index = FS_START / P + (this.#places[page] ?? 0) - pgmap.firstPfn;
      const expected = 1 + (pins.get(page) ?? 0);
      assert(pgmap.refs.pageRefCount(index) === expected, `page ${page} has ${expected}`);
    }
    assert(pinnedPages() === pins.size, 'no other page is pinned');
    for (const id of this.#gone) {
      assert(this.#set.store.disk.records.get(id) === undefined, `${id} was released`);
      assert(this.#set.leases.get(id).state === 'released', `${id} is known to be released`);
    }
    for (const change of this.#changes) this.#checkChange(change, pins);
  }

  /** A holder has its ttl from the renewal, and the grace from the first start behind it. */
  #checkRights({ renewedMs, startMs, isShrunk }: Known, state: LeaseState): void {
    const nowMs = this.#clock.nowMs();
    const graceEndMs = startMs === undefined ? 0 : startMs + RESTART_GRACE_MS;
    const untilMs = Math.max(renewedMs + TTL_MS, Math.min(this.#startMs + TTL_MS, graceEndMs));
    assert(state !== 'suspect' || nowMs >= untilMs, `lapsed at ${nowMs}, not ${untilMs}`);
    // What is over at a start is so when time goes on.
    const lastMs = Math.max(renewedMs + TTL_MS + NOTE_LAG_MS, graceEndMs, this.#startMs);
    const isBack = state === 'reclaimable' && isShrunk !== true;
    assert(!isBack || nowMs <= lastMs, `back for ever: ${nowMs}, not ${lastMs}`);
  }

  #checkChange({ from, to, deadlineMs }: Change, pins: ReadonlyMap<number, number>): void {
    assert(deadlineMs >= this.#clock.nowMs(), 'no change waits past its deadline');
    const isBusy = this.#inFile(from, to).some((page) => pins.has(page));
    const isQueued = this.#changes.some((other) => other.from < to && from < other.to);
    assert(isBusy || isQueued, 'nobody waits for idle pages');
  }

  async #acquire(): Promise<void> {
    const from = this.#random.below(PAGES);
    const to = from + 1 + this.#random.below(PAGES - from);
    const expected = this.#inFile(from, to);
    const isRecalled = this.#changes.some((one) => one.from < to && from < one.to);
    try {
      const lease = await this.#set.leases.acquire(
        ask({ offset: from * P, length: (to - from) * P, ttlMs: TTL_MS }),
      );
      assert(!isRecalled, 'no lease is granted over a change that waits');
      // A change that would not wait may have come while the store took its time.
      const isQuarantined = lease.state === 'quarantined';
      const { grantedMs: renewedMs } = lease.terms;
      this.#known.set(lease.id, { pages: new Set(expected), isQuarantined, renewedMs });
      this.counts.granted++;
    } catch (error) {
      assert(isRecalled && error instanceof DaxdError, String(error));
      this.counts.conflicts++;
    }
  }

  async #release(): Promise<void> {
    const id = this.#pick([...this.#known.keys()]);
    const known = id === undefined ? undefined : this.#known.get(id);
    if (id === undefined || known === undefined) return;
    const { leases } = this.#set;
    const page = this.#pick([...known.pages]);
    if (page === undefined || this.#random.below(2) === 0) {
      await leases.release(id);
      known.pages.clear();
    } else {
      await leases.release(id, [{ offset: page * P, length: P }]);
      known.pages.delete(page);
      known.isShrunk = true;
    }
    if (leases.get(id).state !== 'released') return;
    this.#known.delete(id);
    this.#gone.add(id);
  }

  #renew(): void {
    const id = this.#pick([...this.#known.keys(), ...this.#gone]);
    if (id === undefined) return;
    const known = this.#known.get(id);
    try {
      assert(this.#set.leases.renew(id).state === 'active', 'renewed is active');
      assert(known?.isQuarantined === false, 'only a lease that has its file is renewed');
      known.renewedMs = this.#clock.nowMs();
      known.startMs = undefined;
      known.isShrunk = false;
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      assert(known?.isQuarantined !== false, error.message);
    }
  }

  /** A change of a range, which waits until it is idle, is given up, or runs out of time. */
  #begin(): void {
    const from = this.#random.below(PAGES);
    const to = from + 1 + this.#random.below(PAGES - from);
    const abort = new AbortController();
    const waitMs = 1 + this.#random.below(3 * TTL_MS);
    const deadlineMs = this.#clock.nowMs() + waitMs;
    const change: Change = { from, to, deadlineMs, abort, layout: undefined, isOver: false };
    this.#clock.setTimer(() => {
      if (!change.isOver) this.counts.late++;
      abort.abort(new DaxdError('deadline', 'too late'));
    }, waitMs);
    this.#changes.push(change);
    const waits = this.#set.layouts.breakLayouts({
      op: 'truncate',
      inode: this.#fs.fileAt('file').inode,
      from: from * P,
      to: to * P,
      pages: () => this.#pfns(from, to),
      signal: abort.signal,
    });
    void this.#follow(change, waits);
  }

  async #follow(change: Change, waits: Promise<BrokenLayout>): Promise<void> {
    try {
      change.layout = await waits;
      change.layout.assertIdle();
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      change.isOver = true;
    }
  }

  /** What is through ends, and lets those behind it go on. */
  #lift(): void {
    for (const change of this.#changes) {
      if (change.layout === undefined) continue;
      change.isOver = true;
      this.counts.through++;
      change.layout.lift();
    }
    this.#changes = this.#changes.filter(({ isOver }) => !isOver);
  }

  /** A change that does not wait: what is pinned of a page moves into the quarantine. */
  async #defer(mayCrash: boolean): Promise<void> {
    const page = this.#random.below(PAGES);
    const over = [...this.#known.values()].filter(({ pages }) => pages.has(page));
    const isPending = this.#changes.some(({ from, to }) => from <= page && page < to);
    if (isPending || over.length === 0 || this.#inFile(page, page + 1).length === 0) return;
    const { inode } = this.#fs.fileAt('file');
    const run = this.#fs.moveAway('file', page);
    for (const known of over) known.isQuarantined = true;
    this.counts.quarantined += over.length;
    // A crash between the media and the store: the next daemon finds out by itself.
    if (mayCrash && this.#random.below(3) === 0) {
      this.counts.crashes++;
      await this.start();
      return;
    }
    const move = { change: 'x', op: 'truncate', inode, runs: [run] };
    await this.#set.leases.quarantine.deferred('pmem0p1', FS_START, move);
  }

  /** The store takes its time, and calls that come meanwhile are answered after it. */
  async #stall(): Promise<void> {
    let open: (() => void) | undefined;
    this.#set.store.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const calls = [this.#acquire(), this.#release(), this.#defer(false), this.#release()];
    this.#clock.advance(this.#random.below(TTL_MS));
    await settle();
    this.#set.store.gate = undefined;
    open?.();
    await Promise.all(calls);
  }

  /** Ends in order, or not; sometimes with calls under way that are never answered. */
  async #restart(): Promise<void> {
    this.counts.crashes++;
    const how = this.#random.below(4);
    if (how < 2) await this.#set.leases.close();
    else if (how === 2) await this.#begun();
    // Right behind the answers to renewals: the store has not been told.
    else for (let renewals = 0; renewals < 3; renewals++) this.#renew();
    await this.start();
  }

  /** Calls that the store never hears of: until it does, nothing is unpinned. */
  async #begun(): Promise<void> {
    this.#set.store.gate = new Promise(() => {});
    void this.#release();
    await settle();
    this.check();
    void this.#acquire();
    await settle();
  }

  /** Pages of a range that the file still has, as it numbers them. */
  #inFile(from: number, to: number): number[] {
    const extents = [...this.#fs.fileAt('file').extents(0, Infinity)];
    return extents
      .map(({ fileOffset }) => fileOffset / P)
      .filter((page) => page >= from && page < to);
  }

  *#pfns(from: number, to: number): Generator<PfnRun> {
    for (const page of this.#inFile(from, to)) {
      yield { firstPfn: FS_START / P + (this.#places[page] ?? 0), count: 1 };
    }
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return this.#random.pick(items);
  }
}

t.test('a model of leases over crashes, restarts, clock jumps and stalls', async (t) => {
  const seed = testSeed(t);
  // A file whose pages all moved away has nothing left to lend: then another world begins.
  const perWorld = 500;
  const counts: Record<string, number> = {};
  for (let done = 0, world = 0; done < STEPS; world++) {
    const one = new World(new SeededRandom(seed + world));
    await one.start();
    for (let step = 0; step < perWorld; step++, done++) {
      await one.step();
      try {
        one.check();
      } catch (cause) {
        throw new Error(`seed ${seed}, world ${world}, step ${step}`, { cause });
      }
    }
    for (const [name, count] of Object.entries(one.counts)) {
      counts[name] = (counts[name] ?? 0) + count;
    }
  }
  t.comment(JSON.stringify({ steps: STEPS, ...counts }));
  for (const [name, count] of Object.entries(counts)) t.ok(count > 0, `${name}: ${count}`);
});
