import type { FastifyReply } from 'fastify';

import type { Evict, PendingChange } from '../dax/layout-change.js';
import type { Evicted } from '../lease/revocation.js';
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
    /** Takes the leases in the way from their holders first. */
    readonly evict?: Evict | undefined;
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
): {
  readonly subject: Subject;
  readonly limit: WaitLimit;
  /** What became of the leases that it took; undefined where it takes none. */
  readonly evicted: readonly Evicted[] | undefined;
} {
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
  if (asked.on_conflict !== 'revoke') {
    const defer = asked.on_conflict === 'defer';
    const change = { path, signal, deadlineMs, defer };
    return { subject: { fs, inode, change }, limit, evicted: undefined };
  }
  const evicted: Evicted[] = [];
  const evict: Evict = async (pending, aborted) => {
    evicted.push(...(await control.leases.revocation.evict(partition, pending, aborted)));
  };
  const change = { path, signal, deadlineMs, defer: true, evict };
  return { subject: { fs, inode, change }, limit, evicted };
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
