import { DaxdError } from '../../lib/errno.js';
import { isDamage } from '../damage.js';

/** A volume, as far as waiting for its space goes. */
interface SpaceSource {
  readonly freedBlocksReturned: () => Promise<boolean>;
}

/**
 * Runs `attempt`, and once more when it found too few blocks and others were about to give
 * some back. It takes blocks synchronously, and leaves nothing behind when it throws.
 *
 * @throws DaxdError ENOSPC, or what is wrong with groups that have the blocks; what `attempt` throws
 */
export async function whenSpace<T>(volume: SpaceSource, attempt: () => T | Promise<T>): Promise<T> {
  for (let isLast = false; ; isLast = true) {
    try {
      return await attempt();
    } catch (error) {
      if (!isOutOfSpace(error)) throw error;
      if (isLast || !(await volume.freedBlocksReturned())) throw reasonOf(error);
    }
  }
}

/** Whether it says that there are too few blocks, be it for those that lie in damaged groups. */
export function isOutOfSpace(error: unknown): error is DaxdError {
  return error instanceof DaxdError && error.code === 'ENOSPC';
}

/** What whoever finds no space is told: where damaged groups have it, a repair gives it back. */
function reasonOf(full: DaxdError): DaxdError {
  return isDamage(full.cause) ? full.cause : full;
}
