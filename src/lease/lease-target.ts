import type { Claim } from '../block/claims.js';
import type { Layouts } from '../dax/layouts.js';
import type { BackingRange } from '../media/backing-range.js';
import type { LeaseAccess } from './lease-terms.js';
import type { MediaIdentity } from './media-identity.js';

/** A piece of a file; all in bytes, `mediaOffset` from the start of the partition. */
export interface LeasableExtent {
  readonly fileOffset: number;
  readonly mediaOffset: number;
  readonly length: number;
  readonly unwritten: boolean;
}

/** A file as it is now: what it says holds until the next await. */
export interface LeasableFile {
  readonly inode: number;
  /** Tells files apart that had the same inode one after the other. */
  readonly generation: number;
  readonly type: string;
  readonly size: number;
  /** @throws DaxdError EOPNOTSUPP where the media do not hold what the file reads as. */
  assertLendable(from: number, to: number): void;
  /** Extents over the bytes [from, to), ascending; holes have none. */
  extents(from: number, to: number): Iterable<LeasableExtent>;
}

/** Blocks that a filesystem keeps apart; all in bytes from the start of the partition. */
interface LeasableQuarantine {
  /** How many bytes are kept, how many are about to be, and how many may be. */
  readonly bytes: number;
  readonly reservedBytes: number;
  readonly capBytes: number;
  /** Keeps room for what a change is about to bring; what it returns ends that. */
  reserve(change: string, bytes: number): () => void;
  /** Ascending. */
  extents(): readonly { readonly mediaOffset: number; readonly length: number }[];
  /** Zeroes and frees them, durably. @throws DaxdError EBUSY while one is pinned, ENOENT, EROFS. */
  release(mediaOffset: number, length: number): Promise<void>;
}

/** What a lease needs of a filesystem; the methods throw what the filesystem's own do. */
export interface LeasableFs {
  readonly readOnly: boolean;
  readonly quarantine: LeasableQuarantine;
  /** What is at a path from the partition's root, symlinks followed. */
  fileAt(path: string): LeasableFile;
  /** What an inode holds now, whether it has a name or not. */
  fileOf(inode: number): LeasableFile;
  /** For write: holes and unwritten extents become zeroed, written blocks, durably. */
  prepareDma(inode: number, offset: number, length: number, access: LeaseAccess): Promise<unknown>;
  /** Settles when all that is to be seen now is durable; undefined where it is. @throws DaxdError EIO */
  whenDurable(): Promise<void> | undefined;
}

/** A mounted filesystem whose files can be lent. */
export interface FilesystemTarget {
  readonly kind: 'filesystem';
  readonly media: MediaIdentity;
  readonly fs: LeasableFs;
  readonly layouts: Pick<Layouts, 'endTurn' | 'pendingOver' | 'pinTurn' | 'waitingOver'>;
  /** The partition: extents count from its start. */
  readonly range: BackingRange;
}

/** A partition that nobody has mounted, lent as it is. */
export interface RawTarget {
  readonly kind: 'raw';
  readonly media: MediaIdentity;
  readonly range: BackingRange;
  /** Keeps those who want the partition alone from it. @throws DaxdError EBUSY naming the holder. */
  claim(holder: string): Claim;
}

/** What a partition offers to leases now. */
export type LeaseTarget = FilesystemTarget | RawTarget;

/** The partitions that leases stand on; the daemon implements it. */
export interface LeaseTargets {
  /**
   * Synchronous: what it says holds until the next await.
   *
   * @throws DaxdError ENOENT without such a partition; EOPNOTSUPP when it has no DAX, with
   * the reason; EBUSY or ESHUTDOWN while it is being unmounted or detached.
   */
  target(partition: string): LeaseTarget;
  /** Which media lie there now; undefined without such a partition. */
  identify(partition: string): MediaIdentity | undefined;
}
