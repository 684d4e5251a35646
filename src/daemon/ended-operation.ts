import type { Operation } from '../http/schemas/operation.js';
import { timestampFromMs } from '../http/timestamp.js';
import { bytesOf } from '../lease/kept-operation.js';
import type { EndedOperation } from '../lease/kept-operation.js';
import { outcomeWord, shownOutcome } from './operation-outcome.js';

/** How the API shows an operation that has ended, from what is remembered of it. */
export function endedOperation(ended: EndedOperation): Operation {
  const { id, change, partition, inode, path, startedWallMs, waitedMs, deadlineMs } = ended;
  const { from, to } = bytesOf(change);
  return {
    id,
    op: change.op,
    done: true,
    state: 'ended',
    partition,
    inode,
    path,
    ...shownBytes(from, to),
    started: timestampFromMs(startedWallMs),
    waited_ms: waitedMs,
    blocked_by: [],
    acknowledged: [],
    ...(deadlineMs !== undefined && { deadline_ms: deadlineMs }),
    outcome: outcomeWord(ended.outcome),
    ...shownOutcome(id, ended.outcome),
  };
}

/** The bytes [from, to) of a file, where `to` may be its end, wherever that is. */
export function shownBytes(from: number, to: number): Pick<Operation, 'end' | 'offset'> {
  return { offset: from, end: Number.isSafeInteger(to) ? to : null };
}
