import { HeldError, INTERNAL_ERROR, problemFor } from '../http/problem.js';
import type { Operation } from '../http/schemas/operation.js';
import type { OperationOutcome } from '../lease/kept-operation.js';
import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';

/** Why a wait is given up, by code: another one says that the change itself failed. */
const GIVEN_UP: ReadonlySet<ErrorCode> = new Set(['cancelled', 'deadline', 'draining']);

/** A failure as it is remembered; anything but a refusal ends daxd, and its log says what it was. */
export function failedWith(reason: unknown): OperationOutcome {
  if (!(reason instanceof DaxdError)) return { error: { code: 'EIO', detail: INTERNAL_ERROR } };
  const { code, message: detail } = reason;
  return {
    error: { code, detail, ...(reason instanceof HeldError && { holders: reason.holders }) },
  };
}

/** One word for it: `done`, why its wait was given up, or `failed`. */
export function outcomeWord(outcome: OperationOutcome): string {
  if ('result' in outcome) return 'done';
  const { code } = outcome.error;
  return GIVEN_UP.has(code) ? code : 'failed';
}

/** What the API shows of the outcome of the operation `id`. */
export function shownOutcome(
  id: string,
  outcome: OperationOutcome,
): Pick<Operation, 'error' | 'result'> {
  if ('error' in outcome) {
    const { code, detail, holders } = outcome.error;
    const error =
      holders === undefined ? new DaxdError(code, detail) : new HeldError(code, detail, holders);
    return { error: problemFor(error, `/v1/operations/${id}`) };
  }
  const { evicted, ...result } = outcome.result;
  return { result: evicted === undefined ? result : { ...result, evicted: [...evicted] } };
}
