import type { PendingChange } from '../dax/layout-change.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import type { ByteRange } from './byte-ranges.js';
import type { FilesystemTarget } from './lease-target.js';
import type { Lease, LeaseView } from './lease.js';
import type { RecallClock } from './recall-clock.js';

/** A change of a file that waits for leases. */
export interface WaitingChange {
  readonly id: string;
  readonly op: string;
  /** The bytes of the file that change, half open; `to` may be Infinity. */
  readonly from: number;
  readonly to: number;
  readonly deadlineMs: number | undefined;
}

/** What the holder of a lease is asked for. */
export interface Recall {
  readonly lease: string;
  readonly client: string | undefined;
  /** The operation that waits. */
  readonly operation: string;
  readonly op: string;
  /** Of the lease: those that it waits for. */
  readonly ranges: readonly ByteRange[];
  /** When the operation gives up, in milliseconds from now. */
  readonly deadline_ms: number | undefined;
}

/** What each of the leases has to release for `change` to go on. */
export function recallsFor(
  change: WaitingChange,
  ids: readonly string[],
  leases: { get(id: string): Lease },
): Recall[] {
  const { id: operation, op, deadlineMs } = change;
  return ids.map((id) => {
    const lease = leases.get(id);
    const ranges = rangesWithin(lease.ranges, change);
    const { client } = lease.terms;
    return { lease: id, client, operation, op, ranges, deadline_ms: deadlineMs };
  });
}

/** A lease as the API shows it: with what its holder is asked to release. */
export interface RecalledView extends Omit<LeaseView, 'state'> {
  /** `recalling`: active, and asked for. */
  readonly state: LeaseView['state'] | 'recalling';
  readonly recalls: readonly Omit<Recall, 'client' | 'lease'>[];
}

/** How the API shows a lease whose file, if any, is on `target`. */
export function recalledView(
  lease: Lease,
  target: FilesystemTarget | undefined,
  recallClock: Pick<RecallClock, 'restMs'>,
): RecalledView {
  const recalls = [...recallsOf(lease, target)].map((change) => ({
    operation: change.id,
    op: change.op,
    ranges: rangesWithin(lease.ranges, change),
    deadline_ms: restOf(lease, change, recallClock),
  }));
  // Spread into a new object, all of it would be copied member by member.
  const view: RecalledView = Object.assign(lease.view(), { recalls });
  return view.state === 'active' && recalls.length > 0 ? { ...view, state: 'recalling' } : view;
}

/** The changes that wait for a lease whose file, if any, is on `target`. */
export function* recallsOf(
  { terms: { inode }, ranges }: Lease,
  target: FilesystemTarget | undefined,
): Generator<PendingChange> {
  const [first] = ranges;
  const last = ranges.at(-1);
  if (inode === undefined || target === undefined) return;
  if (first === undefined || last === undefined) return;
  const from = roundDown(first.offset, PAGE_SIZE);
  const to = roundUp(last.offset + last.length, PAGE_SIZE);
  for (const change of target.layouts.waitingOver(inode, from, to)) {
    if (rangesWithin(ranges, change).length > 0) yield change;
  }
}

/** What is left until a change gives up or takes the lease, in milliseconds. */
function restOf(
  lease: Lease,
  change: PendingChange,
  recallClock: Pick<RecallClock, 'restMs'>,
): number | undefined {
  const { deadlineMs } = change;
  if (deadlineMs === undefined) return undefined;
  if (change.revokes) return Math.max(0, Math.floor(recallClock.restMs(lease, change)));
  return Math.max(0, Math.floor(deadlineMs - change.waitedMs()));
}

/** A page is waited for whole, whichever of its bytes change. */
function rangesWithin(
  ranges: readonly ByteRange[],
  { from, to }: Pick<WaitingChange, 'from' | 'to'>,
): ByteRange[] {
  const first = roundDown(from, PAGE_SIZE);
  const end = to === Infinity ? to : roundUp(to, PAGE_SIZE);
  return ranges.flatMap(({ offset, length }) => {
    const start = Math.max(offset, first);
    const rest = Math.min(offset + length, end) - start;
    return rest > 0 ? [{ offset: start, length: rest }] : [];
  });
}
