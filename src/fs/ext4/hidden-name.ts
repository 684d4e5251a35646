import { DaxdError } from '../../lib/errno.js';
import { ROOT_INODE } from './layout.js';
import type { PathEnd } from './path.js';
import { QUARANTINE_NAME } from './quarantine-state.js';
import type { Volume } from './volume.js';

const HIDDEN = Buffer.from(QUARANTINE_NAME);

/** Whether a name of a directory is daxd's own: no path leads to it, and no listing has it. */
export function isHidden(volume: Volume, directory: number, name: Buffer): boolean {
  // What somebody else keeps under that name is theirs.
  return directory === ROOT_INODE && volume.quarantine.refusal === undefined && name.equals(HIDDEN);
}

/** @throws DaxdError EPERM where a name that is about to be made, moved or removed is daxd's own */
export function refuseHidden(volume: Volume, { parents, name }: PathEnd): void {
  if (name === undefined || !isHidden(volume, parents.at(-1) ?? 0, name)) return;
  throw new DaxdError(
    'EPERM',
    `"${QUARANTINE_NAME}" in the root is kept for blocks that are quarantined: take another name`,
  );
}
