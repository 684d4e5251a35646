import type { FastifyReply } from 'fastify';

import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Control, FileSystem } from './control.js';
import { abortOnDisconnect } from './disconnect.js';
import { ConflictTerms } from './file-change.js';
import { pathFromText } from './file-path.js';
import { WaitLimit } from './patience.js';
import type { Patience } from './patience.js';

/** The file that a change of its layout is about, and how it goes about it. */
export interface ChangeSubject {
  readonly fs: FileSystem;
  readonly inode: number;
  readonly path: string;
  readonly terms: ConflictTerms;
  readonly limit: WaitLimit;
}

/** What the routes of such changes work with. */
export interface ChangePorts {
  readonly control: Control;
  readonly clock: Clock;
}

/** What such a change asks for, beside what it does. */
export interface AskedChange extends Patience {
  readonly path: string;
}

/**
 * The file to change, symlinks followed, and how long the client waits for its pages.
 *
 * @throws DaxdError ENOENT, ENODEV and what else the lookup of its path says; EINVAL as
 *   {@link WaitLimit.of}.
 */
export function changeSubject(
  { control, clock }: ChangePorts,
  partition: string,
  asked: AskedChange,
  reply: FastifyReply,
): ChangeSubject {
  const { fs } = control.files(partition);
  const path = pathFromText(asked.path);
  const inode = fs.lookup(path);
  const holders = (changeId: string) => control.holdersOf(changeId);
  const limit = WaitLimit.of(asked, abortOnDisconnect(reply), { clock, holders });
  const terms = new ConflictTerms(control.leases.revocation, partition, asked.on_conflict);
  return { fs, inode, path, terms, limit };
}

/** @throws DaxdError EFBIG for a range that ends at 2^53 or beyond */
export function checkedRange({
  offset,
  length,
}: {
  readonly offset: number;
  readonly length: number;
}): { readonly offset: number; readonly length: number } {
  if (!Number.isSafeInteger(offset + length)) {
    throw new DaxdError('EFBIG', `offset ${offset} and length ${length} end at 2^53 or beyond`);
  }
  return { offset, length };
}
