import type { Evict, PendingChange, ResumedChange } from '../dax/layout-change.js';
import type { ChangeResult } from '../fs/ext4/layout-break.js';
import type { FileChange } from '../lease/kept-operation.js';
import type { Evicted } from '../lease/revocation.js';
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
  readonly evict?: Evict | undefined;
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

/** What a change does about the leases in its way. */
export interface ConflictTerms {
  readonly defer: boolean;
  readonly evict?: Evict;
  /** What became of the leases that it took; absent where it takes none. */
  readonly evicted?: readonly Evicted[];
}

/** What `on_conflict` asks for. */
export function conflictTerms(
  revocation: Pick<LeaseControl['revocation'], 'evict'>,
  partition: string,
  onConflict: 'wait' | 'fail' | 'defer' | 'revoke' = 'wait',
): ConflictTerms {
  if (onConflict !== 'revoke') return { defer: onConflict === 'defer' };
  const evicted: Evicted[] = [];
  const evict: Evict = async (pending, aborted) => {
    for (const one of await revocation.evict(partition, pending, aborted)) evicted.push(one);
  };
  return { defer: true, evict, evicted };
}

/** What a change answers, and what became of the leases that it took. */
export async function withEvicted(
  work: Promise<LayoutChanged>,
  { evicted }: Pick<ConflictTerms, 'evicted'>,
): Promise<LayoutChanged> {
  const changed = await work;
  return evicted === undefined ? changed : { ...changed, evicted: [...evicted] };
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
