import type { FileExtent } from '../fs/ext4/ext4.js';
import type { Ext4 } from '../fs/ext4/ext4.js';
import type { Leases } from '../lease/leases.js';
import type { Device } from './schemas/device.js';
import type { Operation } from './schemas/operation.js';
import type { Partition } from './schemas/partition.js';

/** What the routes use of a mounted filesystem. */
export type FileSystem = Pick<
  Ext4,
  | 'create'
  | 'extents'
  | 'fallocate'
  | 'lookup'
  | 'mkdir'
  | 'punchHole'
  | 'readStream'
  | 'readdir'
  | 'rename'
  | 'replace'
  | 'stat'
  | 'symlink'
  | 'truncate'
  | 'unlink'
  | 'write'
  | 'zeroRange'
>;

/** What the routes use of the leases. */
export type LeaseControl = Pick<Leases, 'acquire' | 'get' | 'list' | 'release' | 'renew'>;

/** A mounted filesystem, and where its partition lies. */
export interface MountedFiles {
  readonly fs: FileSystem;
  /** Bytes from the start of the backing to the partition. */
  readonly startBytes: number;
  /** Pages of these extents that are pinned now, each counted once. */
  pinnedPages(extents: readonly FileExtent[]): number;
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
  /** @throws DaxdError EBUSY while it is mounted, exported or pinned; ENOENT. */
  deletePartition(name: string): Promise<void>;
  /** @throws DaxdError EEXIST over a known signature without `force`; EBUSY; ENOENT. */
  format(
    name: string,
    options: { readonly label?: string; readonly force: boolean },
  ): Promise<Partition>;
  /** @throws DaxdError EBUSY when it is mounted already; ENOENT; what the mount says. */
  mount(name: string, options: { readonly readOnly: boolean }): Promise<Partition>;
  /** @throws DaxdError EINVAL when it is not mounted; EBUSY while pages are pinned; ENOENT. */
  unmount(name: string): Promise<Partition>;
  /** @throws DaxdError ENODEV when it is not mounted; ENOENT. */
  files(name: string): MountedFiles;
  operations(): Operation[];
  /**
   * One operation, at once or when it ends, at the latest after `waitMs`.
   *
   * @throws DaxdError ENOENT.
   */
  operation(id: string, waitMs: number, signal: AbortSignal): Promise<Operation>;
  /** Ends its wait; the file stays as it is. @throws DaxdError ENOENT. */
  cancelOperation(id: string): Operation;
  /** Whether calls would be served, and why not. */
  ready(): { readonly ready: boolean; readonly reasons: readonly string[] };
}
