import type { PendingChange } from '../dax/layout-change.js';
import type { ByteRange } from '../lib/byte-range.js';
import type { EventSink } from '../lib/event-ring.js';
import { partitionPoint } from '../lib/partition-point.js';
import { pagesAround } from './byte-ranges.js';
import { rangesInFileOn, waysOn } from './in-the-way.js';
import { leaseEventFields } from './lease-events.js';
import type { FilesystemTarget } from './lease-target.js';
import type { Lease, LeaseView } from './lease.js';
import type { RecallClock } from './recall-clock.js';

/** Of a lease are shown so many recalls, of each so many ranges: there may be thousands of both. */
const RECALLS_MAX = 32;
const RECALL_RANGES_MAX = 64;

/** Knows how long holders have yet. */
type RestClock = Pick<RecallClock, 'restMs'>;

/** What the holder of a lease is asked for. */
export interface Recall {
  readonly lease: string;
  readonly client: string | undefined;
  /** The operation that waits. */
  readonly operation: string;
  readonly op: string;
  /** Of the lease: those that it waits for, the first RECALL_RANGES_MAX of them. */
  readonly ranges: readonly ByteRange[];
  /** When the operation gives up, or takes the lease, in milliseconds from now. */
  readonly deadline_ms: number | undefined;
}

/** What each of the leases has to release for `change` to go on. */
export function recallsFor(
  change: PendingChange,
  ids: readonly string[],
  leases: {
    get(id: string): Lease;
    targetOf(lease: Lease): FilesystemTarget | undefined;
    readonly recallClock: RestClock;
  },
): Recall[] {
  // They are leases of one file.
  let rangesOf: ReturnType<typeof rangesInFileOn> | undefined;
  return ids.map((id) => {
    const lease = leases.get(id);
    const { client } = lease.terms;
    rangesOf ??= rangesInFileOn(leases.targetOf(lease));
    return { lease: id, client, ...recallOf(lease, rangesOf(lease), change, leases.recallClock) };
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
  recallClock: RestClock,
): RecalledView {
  const recalls = shownRecalls(lease, target, recallClock);
  // Spread into a new object, all of it would be copied member by member.
  const view: RecalledView = Object.assign(lease.view(), { recalls });
  return view.state === 'active' && recalls.length > 0 ? { ...view, state: 'recalling' } : view;
}

/** The first of them: a holder sees the others once it has released what these ask for. */
function shownRecalls(
  lease: Lease,
  target: FilesystemTarget | undefined,
  recallClock: RestClock,
): RecalledView['recalls'] {
  const recalls: RecalledView['recalls'][number][] = [];
  let ranges: readonly ByteRange[] | undefined;
  for (const change of shownChanges(lease, target)) {
    ranges ??= rangesInFileOn(target)(lease);
    recalls.push(recallOf(lease, ranges, change, recallClock));
  }
  return recalls;
}

/**
 * Tells that a lease was granted, and what it is asked for already: it goes before the changes
 * that came behind its request, which told the holders that they found.
 */
export function tellGranted(
  lease: Lease,
  target: FilesystemTarget | undefined,
  { events, recallClock }: { readonly events: EventSink; readonly recallClock: RestClock },
): void {
  events.push('lease.granted', leaseEventFields(lease));
  const { client } = lease.terms;
  for (const recall of shownRecalls(lease, target, recallClock)) {
    events.push('recall', { lease: lease.id, client, ...recall });
  }
}

/** Those of {@link recallsOf} that a reply about a lease shows. */
export function* shownChanges(
  lease: Lease,
  target: FilesystemTarget | undefined,
): Generator<PendingChange> {
  let count = 0;
  for (const change of recallsOf(lease, target)) {
    yield change;
    if (++count === RECALLS_MAX) return;
  }
}

/** The changes that wait for a lease whose file, if any, is on `target`. */
export function* recallsOf(
  lease: Lease,
  target: FilesystemTarget | undefined,
): Generator<PendingChange> {
  if (lease.hasLeftFile) return;
  const { terms, ranges } = lease;
  const { inode } = terms;
  const [first] = ranges;
  const last = ranges.at(-1);
  if (inode === undefined || target === undefined) return;
  if (first === undefined || last === undefined) return;
  const { from, to } = pagesAround({ from: first.offset, to: last.offset + last.length });
  const isBlocking = waysOn(target);
  for (const change of target.layouts.waitingOver(inode, from, to)) {
    if (rangesWithin(ranges, change, 1).length > 0 && isBlocking(lease, change)) yield change;
  }
}

function recallOf(
  lease: Lease,
  ranges: readonly ByteRange[],
  change: PendingChange,
  recallClock: RestClock,
): RecalledView['recalls'][number] {
  return {
    operation: change.id,
    op: change.op,
    ranges: rangesWithin(ranges, change),
    deadline_ms: restOf(lease, change, recallClock),
  };
}

/** What is left until a change gives up or takes the lease, in milliseconds. */
function restOf(lease: Lease, change: PendingChange, recallClock: RestClock): number | undefined {
  const { deadlineMs } = change;
  if (deadlineMs === undefined) return undefined;
  if (change.revokes) return Math.max(0, Math.floor(recallClock.restMs(lease, change)));
  return Math.max(0, Math.floor(deadlineMs - change.waitedMs()));
}

/** The first of the ranges, at most `max`. A page is waited for whole, whichever of its bytes change. */
function rangesWithin(
  ranges: readonly ByteRange[],
  change: Pick<PendingChange, 'from' | 'to'>,
  max: number = RECALL_RANGES_MAX,
): ByteRange[] {
  const { from, to } = pagesAround(change);
  const within: ByteRange[] = [];
  let index = partitionPoint(ranges, ({ offset, length }) => offset + length <= from);
  for (; within.length < max; index++) {
    const range = ranges[index];
    if (range === undefined || range.offset >= to) break;
    const start = Math.max(range.offset, from);
    within.push({ offset: start, length: Math.min(range.offset + range.length, to) - start });
  }
  return within;
}
