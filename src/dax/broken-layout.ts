import { assert } from '../lib/assert.js';
import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { PageWaiters } from '../mm/page-waiters.js';
import type { PfnRun } from '../mm/gup.js';
import { daxLayoutBusyPage } from './dax-layout-busy-page.js';
import type { LayoutChange, PendingChange } from './layout-change.js';
import { pinnedRuns } from './pinned-runs.js';

/** The pages that a filesystem stands on, and how to wait for them. */
export interface LayoutPages {
  readonly pgmap: DevPagemap;
  readonly waiters: PageWaiters;
}

/** What {@link BrokenLayout.breakDaxLayouts} works with. */
export interface BreakOptions {
  /** Undefined on a filesystem without direct access: nothing there is ever pinned. */
  readonly device: LayoutPages | undefined;
  readonly clock: Clock;
  /** Takes the time from the last put to the waiter running, once a wait that waited. */
  readonly pageFreeLatency: LatencyHistogram;
  /** Told of a change once, before it waits for the first time. */
  readonly onWait: (change: LayoutChange) => void;
  /** Takes the barrier down and lets the next change start. */
  readonly lift: (change: LayoutChange) => void;
}

/**
 * Leave to free or move the blocks of one pending change: no page of it is pinned, and until
 * {@link lift} none will be. Only a wait that ended well makes one.
 *
 * That of a change that defers says less: pages may be pinned, those that {@link pinnedIn}
 * gives. Until the lift they only become fewer, for the barrier keeps new pins out; so what was
 * idle once may be freed at any time before it.
 */
export class BrokenLayout {
  /** How long the change waited, in milliseconds; 0 when it did not. */
  readonly waitedMs: number;
  readonly #change: LayoutChange;
  readonly #options: BreakOptions;

  private constructor(change: LayoutChange, options: BreakOptions, waited: boolean) {
    change.broken();
    this.waitedMs = waited ? change.waitedMs() : 0;
    this.#change = change;
    this.#options = options;
  }

  /** The change that it is for. */
  get change(): PendingChange {
    return this.#change;
  }

  /**
   * The pinned stretches of `run`, ascending; none unless the change defers. The answer holds
   * until the caller next awaits, and what it leaves out is idle until the lift.
   */
  pinnedIn(run: PfnRun): PfnRun[] {
    const pgmap = this.#options.device?.pgmap;
    return pgmap === undefined || !this.#change.defers ? [] : pinnedRuns(pgmap, run);
  }

  /**
   * Waits for the change's turn, and then until a scan of all its pages finds none pinned.
   * After each wait it scans from the start again, whatever it waited for: a page that was
   * looked at before may be pinned by now, and the pages may be others. A change that defers
   * waits for its turn alone.
   *
   * @throws DaxdError the reason of the change's abort; ENXIO when the device is going away.
   * @kernel ext4_break_layouts (fs/ext4/inode.c), xfs_break_dax_layouts (fs/xfs/xfs_file.c)
   */
  static async breakDaxLayouts(change: LayoutChange, options: BreakOptions): Promise<BrokenLayout> {
    const { device, clock, pageFreeLatency } = options;
    let waited = change.queued;
    if (waited) {
      options.onWait(change);
      await change.turn();
    }
    change.breaking();
    if (change.revokes) waited = await revokeHolders(change, options, waited);
    let latencyMs: number | undefined;
    for (;;) {
      const pfn = device === undefined ? undefined : awaitedPage(change, device.pgmap);
      if (device === undefined || pfn === undefined) break;

      if (!waited) options.onWait(change);
      const { pgmap, waiters } = device;
      const idle = (): boolean => pgmap.isIdlePfn(pfn);
      const wokenMs = await waiters.waitVarEvent(pfn, idle, change);
      waited = true;
      if (wokenMs !== undefined) latencyMs = clock.nowMs() - wokenMs;
    }
    if (latencyMs !== undefined) pageFreeLatency.observe(latencyMs / 1000);
    return new BrokenLayout(change, options, waited);
  }

  /** The same where it takes no wait; undefined where it would. */
  static tryBreakDaxLayouts(change: LayoutChange, options: BreakOptions): BrokenLayout | undefined {
    const pgmap = options.device?.pgmap;
    if (change.queued || pgmap?.dying === true) return undefined;
    const pfn = pgmap === undefined ? undefined : awaitedPage(change, pgmap);
    if (pfn !== undefined) return undefined;
    change.breaking();
    return new BrokenLayout(change, options, false);
  }

  /**
   * Checks, at the commit, that the barrier is up and the pages are idle still. Call it
   * before the file's mapping changes: it asks for the pages anew. Of a change that defers
   * only some are: what it frees, {@link assertIdleRun} checks.
   *
   * The barrier is up for one file. Where damaged media give a block to two, the other one can
   * have been leased since, so a pinned page is damage and no broken invariant.
   *
   * @throws DaxdError EUCLEAN when a page is pinned through another file
   * @throws InvariantError after the lift
   */
  assertIdle(): void {
    const { inode, op, state, defers } = this.#change;
    assert(state === 'broken', `${op} of inode ${inode} frees blocks only before its lift`);
    if (defers) return;
    const pgmap = this.#options.device?.pgmap;
    const pfn = pgmap === undefined ? undefined : daxLayoutBusyPage(pgmap, this.#change.pages());
    if (pfn !== undefined) throw pinnedElsewhere(this.#change, pfn);
  }

  /**
   * Checks that pages which a change that defers is about to free are idle.
   *
   * @throws DaxdError EUCLEAN as {@link assertIdle}
   */
  assertIdleRun(run: PfnRun): void {
    const [pinned] = this.pinnedIn(run);
    if (pinned !== undefined) throw pinnedElsewhere(this.#change, pinned.firstPfn);
  }

  /** Takes the barrier down and lets the next change start. May be called more than once. */
  lift(): void {
    if (this.#change.state === 'broken') this.#options.lift(this.#change);
  }
}

/** Has the holders of pinned pages lose them; whether the change has waited by then. */
async function revokeHolders(
  change: LayoutChange,
  { device, onWait }: BreakOptions,
  waited: boolean,
): Promise<boolean> {
  if (device === undefined) return waited;
  if (daxLayoutBusyPage(device.pgmap, change.pages()) === undefined) return waited;
  if (!waited) onWait(change);
  await change.revoked();
  return true;
}

/** The first page that has to go idle before the change may go on. */
function awaitedPage(change: LayoutChange, pgmap: DevPagemap): number | undefined {
  if (pgmap.dying) throw deviceGone(change);
  return change.defers ? undefined : daxLayoutBusyPage(pgmap, change.pages());
}

function pinnedElsewhere({ op, inode }: LayoutChange, pfn: number): DaxdError {
  return new DaxdError(
    'EUCLEAN',
    `${op} of inode ${inode} is refused: page ${pfn} is pinned through another file: run e2fsck`,
  );
}

/** Why a change of a device that detaches is refused: its counts no longer tell what is idle. */
export function deviceGone({ op, inode }: LayoutChange): DaxdError {
  return new DaxdError('ENXIO', `${op} of inode ${inode} is refused: its device is detaching`);
}
