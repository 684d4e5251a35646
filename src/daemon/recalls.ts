import type { ByteRange } from '../lease/byte-ranges.js';
import type { Leases } from '../lease/leases.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';

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
  leases: Pick<Leases, 'get'>,
): Recall[] {
  const { id: operation, op, deadlineMs } = change;
  return ids.map((id) => {
    const lease = leases.get(id);
    const ranges = rangesWithin(lease.ranges, change);
    const { client } = lease.terms;
    return { lease: id, client, operation, op, ranges, deadline_ms: deadlineMs };
  });
}

/** A page is waited for whole, whichever of its bytes change. */
function rangesWithin(ranges: readonly ByteRange[], { from, to }: WaitingChange): ByteRange[] {
  const first = roundDown(from, PAGE_SIZE);
  const end = to === Infinity ? to : roundUp(to, PAGE_SIZE);
  return ranges.flatMap(({ offset, length }) => {
    const start = Math.max(offset, first);
    const rest = Math.min(offset + length, end) - start;
    return rest > 0 ? [{ offset: start, length: rest }] : [];
  });
}
