import type { PendingChange, ResumedChange, Revoke } from '../dax/layout-change.js';
import type { ChangeResult } from '../fs/ext4/layout-break.js';
import type { FileChange } from '../lease/kept-operation.js';
import { HOLDERS_NAMED_MAX } from '../lease/limits.js';
import type { RevokedLease } from '../lease/revocation.js';
import type { FileSystem, LeaseControl } from './control.js';
import type { LayoutChanged } from './schemas/file.js';

/** What a change of a file's layout is run with. */
export interface ChangeOptions {
  readonly path: string;
  readonly signal: AbortSignal;
  /** When `signal` gives up, in milliseconds; 0: it does not wait. */
  readonly deadlineMs: number | undefined;
  /** What is pinned goes into quarantine instead. */
  readonly defer: boolean;
  /** Takes the leases in the way from their holders first. */
  readonly revoke?: Revoke | undefined;
  /** Told when the change has to wait. */
  readonly onWait?: (change: PendingChange) => void;
  /** Awaited right before the file changes. */
  readonly onBegin?: () => Promise<void>;
  /** Where it began to wait in an earlier daemon. */
  readonly resumed?: ResumedChange;
}

/** What of a filesystem changes the layout of files. */
export type LayoutChanger = Pick<
  FileSystem,
  'collapseRange' | 'fallocate' | 'insertRange' | 'punchHole' | 'stat' | 'truncate' | 'zeroRange'
>;

/** Runs a change of a file, and gives what it answers. Its barrier is up when this returns. */
export async function changeFile(
  fs: LayoutChanger,
  inode: number,
  asked: FileChange,
  options: ChangeOptions,
): Promise<LayoutChanged> {
  if (asked.op === 'truncate') {
    return changedBody(asked.size, await fs.truncate(inode, asked.size, options));
  }
  const result = await changeRange(fs, inode, asked, options);
  return changedBody(fs.stat(inode).size, result);
}

async function changeRange(
  fs: LayoutChanger,
  inode: number,
  asked: Exclude<FileChange, { readonly op: 'truncate' }>,
  options: ChangeOptions,
): Promise<ChangeResult> {
  const { op, offset, length } = asked;
  if ('keepSize' in asked) {
    const spaceOptions = { ...options, keepSize: asked.keepSize };
    return op === 'zero-range'
      ? fs.zeroRange(inode, offset, length, spaceOptions)
      : fs.fallocate(inode, offset, length, spaceOptions);
  }
  if (op === 'punch-hole') return fs.punchHole(inode, offset, length, options);
  if (op === 'collapse-range') return fs.collapseRange(inode, offset, length, options);
  return fs.insertRange(inode, offset, length, options);
}

/**
 * What a change does about the leases in its way, as `on_conflict` asks for, and what became of
 * those that it took, of the first HOLDERS_NAMED_MAX.
 */
export class ConflictTerms {
  /** Whether it waits for no page: what is pinned goes into quarantine. */
  readonly defer: boolean;
  /** Takes the leases first; undefined where it takes none. */
  readonly revoke: Revoke | undefined;
  #revoked: readonly RevokedLease[] = [];

  constructor(
    revocation: Pick<LeaseControl['revocation'], 'revokeFor'>,
    partition: string,
    onConflict: 'wait' | 'fail' | 'defer' | 'revoke' = 'wait',
  ) {
    this.defer = onConflict === 'defer' || onConflict === 'revoke';
    if (onConflict !== 'revoke') return;
    this.revoke = async (pending, aborted) => {
      const taken = await revocation.revokeFor(partition, pending, aborted);
      this.#revoked = [...this.#revoked, ...taken].slice(0, HOLDERS_NAMED_MAX);
    };
  }

  /** What the change answers in all, once it has settled as `work` does. */
  async answer(work: Promise<LayoutChanged>): Promise<LayoutChanged> {
    const changed = await work;
    return this.revoke === undefined ? changed : { ...changed, evicted: [...this.#revoked] };
  }
}

function changedBody(
  size: number,
  { waitedMs, freedBytes, quarantinedBytes }: ChangeResult,
): LayoutChanged {
  return {
    size,
    waited_ms: waitedMs,
    freed_bytes: freedBytes,
    quarantined_bytes: quarantinedBytes,
  };
}
