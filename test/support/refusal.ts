import type { ErrorCode } from '../../src/lib/errno.js';

/** What `t.throws` and `t.rejects` are to find: a DaxdError with that code. */
export function refusal(code: ErrorCode): { name: string; code: ErrorCode } {
  return { name: 'DaxdError', code };
}
