import { DaxdError } from '../../lib/errno.js';
import { fileSystemError } from '../../media/system-call-error.js';

/** Starting without it would forget who still has pages for DMA. */
export function unusable(directory: string, why: unknown): DaxdError {
  const detail = why instanceof Error ? why.message : String(why);
  return new DaxdError(
    'EBADMSG',
    `the leases in ${directory} cannot be read: ${detail}. Nothing is served, so that no page is freed under a DMA. ` +
      'Start the daxd that wrote it, or bring it back from a copy; once you know that no holder does DMA any more, move the directory away',
    { cause: why },
  );
}

/** Why a store cannot be written where it is to be. */
export function unwritable(directory: string, error: unknown): unknown {
  const advice = 'give --state-dir a directory that daxd may write';
  const known = fileSystemError(`keep leases in ${directory}`, error, advice);
  if (known instanceof DaxdError) return known;
  const detail = error instanceof Error ? error.message : String(error);
  return new DaxdError('EIO', `cannot keep leases in ${directory}: ${detail}: ${advice}`, {
    cause: error,
  });
}

/** LMDB's own code for a full disk is the errno of the write that failed. */
export function isFull(error: unknown): boolean {
  const ENOSPC = 28;
  const MAP_FULL = -30792;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === ENOSPC || code === MAP_FULL || code === 'ENOSPC';
}

/** What was put in a batch that failed rejects with an error that promises the reason. */
export async function commitErrorOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error && 'commitError' in error)) return error;
  try {
    return await error.commitError;
  } catch (reason) {
    return reason;
  }
}
