import type { FastifyReply } from 'fastify';

import type { PendingChange } from '../dax/layout-change.js';
import { DaxdError } from '../lib/errno.js';
import type { Control, FileSystem } from './control.js';
import { pathFromText } from './file-path.js';
import { limitWait } from './patience.js';
import type { Patience, WaitLimit } from './patience.js';

/** The file that a change of its layout is about. */
export interface Subject {
  readonly fs: FileSystem;
  readonly inode: number;
  readonly change: {
    readonly path: string;
    readonly signal: AbortSignal;
    /** When `signal` gives up, in milliseconds; 0: it does not wait. */
    readonly deadlineMs: number | undefined;
    /** What is pinned goes into quarantine instead. */
    readonly defer: boolean;
    /** Told when the change has to wait. */
    readonly onWait?: (change: PendingChange) => void;
  };
}

/** What such a change asks for, beside what it does. */
export interface AskedChange extends Patience {
  readonly path: string;
}

/** The file to change, symlinks followed, and how long the client waits for its pages. */
export function subject(
  control: Control,
  partition: string,
  asked: AskedChange,
  reply: FastifyReply,
): { readonly subject: Subject; readonly limit: WaitLimit } {
  const { fs } = control.files(partition);
  const path = pathFromText(asked.path);
  const inode = fs.lookup(path);
  const limit = limitWait(asked, reply, () =>
    control
      .operations()
      .filter((one) => one.partition === partition && one.inode === inode)
      .flatMap((one) => one.blocked_by),
  );
  const { signal, deadlineMs } = limit;
  const defer = asked.on_conflict === 'defer';
  return { subject: { fs, inode, change: { path, signal, deadlineMs, defer } }, limit };
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
