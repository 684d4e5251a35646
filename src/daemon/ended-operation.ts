import { HeldError, problemFor } from '../http/problem.js';
import type { Operation } from '../http/schemas/operation.js';
import { timestampFromMs } from '../http/timestamp.js';
import { bytesOf } from '../lease/kept-operation.js';
import type { EndedOperation, OperationOutcome } from '../lease/kept-operation.js';
import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';

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
    outcome: wordFor(ended.outcome),
    ...shownOutcome(id, ended.outcome),
  };
}

/** The bytes [from, to) of a file, where `to` may be its end, wherever that is. */
export function shownBytes(from: number, to: number): Pick<Operation, 'end' | 'offset'> {
  return { offset: from, end: Number.isSafeInteger(to) ? to : null };
}

/** Why a wait is given up, by code: another one says that the change itself failed. */
const GIVEN_UP: ReadonlySet<ErrorCode> = new Set(['cancelled', 'deadline', 'draining']);

function wordFor(outcome: OperationOutcome): string {
  if ('result' in outcome) return 'done';
  const { code } = outcome.error;
  return GIVEN_UP.has(code) ? code : 'failed';
}

function shownOutcome(id: string, outcome: OperationOutcome): Pick<Operation, 'error' | 'result'> {
  if ('error' in outcome) {
    const { code, detail, holders } = outcome.error;
    const error =
      holders === undefined ? new DaxdError(code, detail) : new HeldError(code, detail, holders);
    return { error: problemFor(error, `/v1/operations/${id}`) };
  }
  const { evicted, ...result } = outcome.result;
  return { result: evicted === undefined ? result : { ...result, evicted: [...evicted] } };
}
