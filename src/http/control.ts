import type { PendingChange } from '../dax/layout-change.js';
import type { Ext4 } from '../fs/ext4/ext4.js';
import type { FileExtent } from '../fs/ext4/file-read.js';
import type { KeptOperation } from '../lease/kept-operation.js';
import type { Leases } from '../lease/leases.js';
import type { DaxdError } from '../lib/errno.js';
import type { Device } from './schemas/device.js';
import type { LayoutChanged } from './schemas/file.js';
import type { NbdExports } from './schemas/nbd.js';
import type { Operation } from './schemas/operation.js';
import type { Partition } from './schemas/partition.js';
import type { QuarantineEntry } from './schemas/quarantine.js';

/** What the routes use of a mounted filesystem. */
export interface FileSystem extends Pick<
  Ext4,
  | 'append'
  | 'collapseRange'
  | 'create'
  | 'extents'
  | 'fallocate'
  | 'getXattr'
  | 'insertRange'
  | 'link'
  | 'listXattrs'
  | 'lookup'
  | 'mkdir'
  | 'mknod'
  | 'punchHole'
  | 'readdir'
  | 'removeXattr'
  | 'rename'
  | 'replace'
  | 'seekData'
  | 'seekHole'
  | 'setAttributes'
  | 'setXattr'
  | 'stat'
  | 'statfs'
  | 'symlink'
  | 'truncate'
  | 'unlink'
  | 'write'
  | 'zeroRange'
> {
  /** A file's bytes in pieces; see {@link Ext4.readStream}. */
  readStream(number: number, offset: number, length: number): AsyncIterable<Buffer>;
}

/** What the routes use of the leases. */
export interface LeaseControl extends Pick<
  Leases,
  'acknowledge' | 'acquire' | 'get' | 'kept' | 'list' | 'onEnded' | 'release' | 'renew' | 'view'
> {
  readonly revocation: Pick<Leases['revocation'], 'proven' | 'revoke' | 'revokeFor'>;
}

/** A mounted filesystem, and where its partition lies. */
export interface MountedFiles {
  readonly fs: FileSystem;
  /** Bytes from the start of the backing to the partition. */
  readonly startBytes: number;
  /** Pages of these extents that are pinned now, each counted once. */
  pinnedPages(extents: readonly FileExtent[]): number;
}

/** What is known of a change before it waits. */
export type AskedOperation = Pick<
  KeptOperation,
  'partition' | 'inode' | 'path' | 'change' | 'onConflict' | 'deadlineMs'
>;

/** A change that may come to outlive its call, and then the daemon. */
export interface KeptChange {
  /** To be awaited by the change right before the file changes. */
  readonly onBegin: () => Promise<void>;
  /** Settles as the work of the change does, once what was kept of it is gone, durably. */
  until(work: Promise<LayoutChanged>): Promise<LayoutChanged>;
  /**
   * Keeps it beyond its call, durably: it ends when `work` does, and shows how. Undefined where
   * it does not go on: its wait is over, or the store failed and gave it up. Then `work` says how
   * it ends.
   *
   * @param work what {@link until} gave.
   * @param cancel gives `work` up.
   * @throws DaxdError ENOENT when it neither waits nor waited lately.
   */
  keep(
    change: PendingChange,
    work: Promise<LayoutChanged>,
    cancel: (reason: DaxdError) => void,
  ): Promise<Operation | undefined>;
}

/** How a filesystem is mounted. */
export interface MountOptions {
  /** Undefined: as daxd was started. */
  readonly readOnly?: boolean | undefined;
}

/** What the routes ask of the daemon, which implements it. */
export interface Control {
  /** Whether new leases and changes are refused because the daemon is going down. */
  readonly draining: boolean;
  readonly leases: LeaseControl;
  device(): Device;
  partitions(): Partition[];
  /** @throws DaxdError ENOSPC without a free stretch of that size; EBUSY while the whole disk is claimed. */
  addPartition(options: {
    readonly sizeBytes?: number;
    readonly label: string;
  }): Promise<Partition>;
  /**
   * @param options whether NBD clients of it are cut off first.
   * @throws DaxdError EBUSY while it is mounted, open to an NBD client or pinned; ENOENT.
   */
  deletePartition(name: string, options: { readonly disconnect: boolean }): Promise<void>;
  nbdExports(): NbdExports;
  /** @throws DaxdError EEXIST over a known signature without `force`; EBUSY; ENOENT. */
  format(
    name: string,
    options: { readonly label?: string; readonly force: boolean },
  ): Promise<Partition>;
  /**
   * @throws DaxdError EBUSY when it is mounted already; EROFS to write where daxd does not; ENOENT;
   *   what the mount says.
   */
  mount(name: string, options: MountOptions): Promise<Partition>;
  /** @throws DaxdError EINVAL when it is not mounted; EBUSY while pages are pinned; ENOENT. */
  unmount(name: string): Promise<Partition>;
  /** @throws DaxdError ENODEV when it is not mounted; ENOENT. */
  files(name: string): MountedFiles;
  /** What waits, ascending by id, from the first after `cursor`. */
  operations(cursor: string): Iterable<Operation>;
  /** Ids of the leases that a change waits for, as far as they are named. */
  holdersOf(operation: string): readonly string[];
  /**
   * One operation, at once or when it ends, at the latest after `waitMs`.
   *
   * @throws DaxdError ENOENT.
   */
  operation(id: string, waitMs: number, signal: AbortSignal): Promise<Operation>;
  /**
   * Ends its wait; the file stays as it is. Settles when the operation has ended, or `signal` aborts.
   *
   * @throws DaxdError ENOENT.
   */
  cancelOperation(id: string, signal: AbortSignal): Promise<Operation>;
  /** What a change needs to go on without its client. @throws DaxdError ENODEV, ENOENT. */
  keptChange(asked: AskedOperation): KeptChange;
  /** Ascending by id, from the first after `cursor`. @throws DaxdError EINVAL for one that is no id. */
  quarantine(cursor: string | undefined): Iterable<QuarantineEntry>;
  /** @throws DaxdError ENOENT for what is not in quarantine. */
  attest(id: string, reason: string): Promise<void>;
  /** Whether calls would be served, and why not. */
  ready(): { readonly ready: boolean; readonly reasons: readonly string[] };
}
