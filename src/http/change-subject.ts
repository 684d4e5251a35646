import type { FastifyReply } from 'fastify';

import { DaxdError } from '../lib/errno.js';
import type { FileSystem } from './control.js';
import { abortOnDisconnect } from './disconnect.js';
import { pathFromText } from './file-path.js';

/** The file that a change of its layout is about. */
export interface Subject {
  readonly inode: number;
  readonly change: { readonly path: string; readonly signal: AbortSignal };
}

/** The file to change, symlinks followed, and the wait's end with the client's connection. */
export function subject(fs: FileSystem, path: string, reply: FastifyReply): Subject {
  const checked = pathFromText(path);
  return {
    inode: fs.lookup(checked),
    change: { path: checked, signal: abortOnDisconnect(reply) },
  };
}

/** @throws DaxdError EFBIG for a range that ends at 2^53 or beyond */
export function checkedRange<R extends { readonly offset: number; readonly length: number }>(
  range: R,
): R {
  if (!Number.isSafeInteger(range.offset + range.length)) {
    throw new DaxdError(
      'EFBIG',
      `offset ${range.offset} and length ${range.length} end at 2^53 or beyond`,
    );
  }
  return range;
}
