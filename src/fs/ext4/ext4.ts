import type { Layouts } from '../../dax/layouts.js';
import type { Clock } from '../../lib/clock.js';
import { DaxdError } from '../../lib/errno.js';
import type { Logger } from '../../lib/logger.js';
import type { BackingRange } from '../../media/backing-range.js';
import { listDirectory } from './directory-listing.js';
import type { ListedEntry } from './directory-listing.js';
import { fileExtents, readFile, readFileStream } from './file-read.js';
import type { FileExtent } from './file-read.js';
import { fallocate, punchHole, zeroRange } from './file-space.js';
import { truncateFile } from './file-truncate.js';
import type { ChangeResult } from './file-truncate.js';
import { writeFile } from './file-write.js';
import type { InodeType } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import type { Change } from './layout-break.js';
import { closeVolume, openVolume } from './mount-state.js';
import { readNamedInode, resolve } from './named-inode.js';
import { Names } from './names.js';
import { parsePath } from './path.js';
import { prepareDma } from './prepare-dma.js';
import { putFile } from './put-file.js';
import type { PutResult } from './put-file.js';
import { readTarget } from './symlink.js';
import type { Volume } from './volume.js';

export type { Change } from './layout-break.js';
export type { FileExtent } from './file-read.js';

/** What {@link mountExt4} is told. */
export interface MountOptions {
  readonly readOnly: boolean;
  readonly layouts: Layouts;
  readonly log: Logger;
  readonly clock: Clock;
}

/** What `stat` answers. */
export interface Stat {
  readonly inode: number;
  readonly type: InodeType;
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly mtimeNs: bigint;
  /** Of a symlink only; bytes that are not UTF-8 come out as replacement characters. */
  readonly target?: string;
}

/** A change that may reach past the end of a file. */
export interface SpaceChange extends Change {
  /** Leaves the size alone; otherwise the file grows to hold the range. */
  readonly keepSize: boolean;
}

/**
 * Mounts the ext4 on a partition. Read-only, with a warning, when it was not unmounted, needs
 * its journal replayed or has features that forbid writing; not one byte changes then.
 *
 * @throws DaxdError EINVAL without an ext4, EOPNOTSUPP for its features, EBADMSG, EUCLEAN, EIO
 */
export async function mountExt4(range: BackingRange, options: MountOptions): Promise<Ext4> {
  return new Ext4(await openVolume(range, options));
}

/** A mounted ext4. Inode numbers come from {@link lookup} and its like; keep none across a wait. */
export class Ext4 {
  readonly #volume: Volume;
  readonly #names: Names;
  #state: 'mounted' | 'unmounted' = 'mounted';

  /** Takes over an open volume; see {@link mountExt4}. */
  constructor(volume: Volume) {
    this.#volume = volume;
    this.#names = new Names(volume);
  }

  get readOnly(): boolean {
    return this.#volume.readOnly;
  }

  get label(): string {
    return this.#volume.superblock.label;
  }

  get uuid(): string {
    return this.#volume.superblock.uuid;
  }

  /** The partition. */
  get range(): BackingRange {
    return this.#volume.range;
  }

  /** Sizes of the whole filesystem; all that is free can be used, whatever is kept for root. */
  statfs(): { totalBytes: number; freeBytes: number; freeInodes: number } {
    const { superblock, free, reservations } = this.#volume;
    return {
      totalBytes: superblock.blocksCount * BLOCK_SIZE,
      freeBytes: Math.max(0, free.blocks - reservations.count) * BLOCK_SIZE,
      freeInodes: free.inodes,
    };
  }

  /**
   * The inode at a path from the root; `''` is the root. Symlinks are followed, the last one
   * unless `follow` is false.
   *
   * @throws DaxdError ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL; EBADMSG, EUCLEAN
   */
  lookup(path: string, { follow = true }: { readonly follow?: boolean } = {}): number {
    const { inode } = resolve(this.#live, this.#live, parsePath(path), { follow });
    if (inode === undefined) throw new DaxdError('ENOENT', `there is no ${JSON.stringify(path)}`);
    return readNamedInode(this.#live, this.#live, inode).number;
  }

  /** @throws DaxdError ENOENT when the inode was freed; EBADMSG, EUCLEAN */
  stat(number: number): Stat {
    const inode = readNamedInode(this.#live, this.#live, number);
    const { type, mode, linksCount: nlink, size, sectors: blocks, mtimeNs } = inode;
    const stat = { inode: number, type, mode, nlink, size, blocks, mtimeNs };
    if (type !== 'symlink') return stat;
    return { ...stat, target: readTarget(this.#live, this.#live, inode).toString() };
  }

  /** Entries of a directory, see {@link listDirectory}; the reader may wait between them. */
  readdir(number: number): Iterable<ListedEntry> {
    return this.#whileMounted(listDirectory(this.#live, number));
  }

  /** Where the bytes [from, to) of a file lie, whole blocks around them; holes are left out. */
  extents(number: number, from = 0, to = Infinity): FileExtent[] {
    return fileExtents(this.#live, readNamedInode(this.#live, this.#live, number), from, to);
  }

  /** Copies a file's bytes from `offset` on to `target`, and gives how many there were. */
  read(number: number, offset: number, target: Uint8Array): number {
    return readFile(this.#live, number, offset, target);
  }

  /** A file's bytes in pieces that are the reader's own, each as it is when it is read. */
  async *readStream(number: number, offset: number, length: number): AsyncIterable<Buffer> {
    const pieces = readFileStream(this.#live, number, offset, length);
    // One by one: the reader may take its time, and the media be another's when it comes back.
    for (let piece = await pieces.next(); piece.done !== true; piece = await pieces.next()) {
      yield piece.value;
      this.#assertMounted();
    }
  }

  /**
   * Makes a stream of bytes the whole content of the file at a path: all of it, durably, or
   * nothing. A file that is there keeps its inode and waits as {@link truncate} does. See
   * {@link putFile}.
   */
  async replace(
    path: string,
    source: AsyncIterable<Uint8Array>,
    change: Change = {},
  ): Promise<PutResult> {
    return await putFile(this.#live, path, source, change);
  }

  /**
   * Writes in place, past the end too; settles when all of it is durable. Never waits for a
   * pinned page. `source` must not change until then.
   *
   * @throws DaxdError EISDIR, EFBIG, ENOSPC, EROFS, EIO
   */
  async write(number: number, offset: number, source: Uint8Array): Promise<void> {
    await writeFile(this.#live, number, offset, source);
  }

  /** Sets a file's size; waits for the pages from the smaller of both sizes on. See {@link truncateFile}. */
  async truncate(number: number, size: number, change: Change = {}): Promise<ChangeResult> {
    return await truncateFile(this.#live, number, size, change);
  }

  /** Zeroes bytes and frees the whole blocks among them; waits for their pages. See {@link punchHole}. */
  async punchHole(
    number: number,
    offset: number,
    length: number,
    change: Change = {},
  ): Promise<ChangeResult> {
    return await punchHole(this.#live, number, { offset, length }, change);
  }

  /** Zeroes bytes without freeing a block; waits for their pages. See {@link zeroRange}. */
  async zeroRange(
    number: number,
    offset: number,
    length: number,
    { keepSize, ...change }: SpaceChange,
  ): Promise<ChangeResult> {
    return await zeroRange(this.#live, number, { offset, length, keepSize }, change);
  }

  /** Gives a file blocks for all of a range; waits for no page. See {@link fallocate}. */
  async fallocate(
    number: number,
    offset: number,
    length: number,
    { keepSize }: SpaceChange,
  ): Promise<ChangeResult> {
    await fallocate(this.#live, number, { offset, length, keepSize });
    return { waitedMs: 0, freedBytes: 0 };
  }

  /**
   * Makes a range ready to be reached past the filesystem, and gives its written extents. They
   * hold until the caller next awaits. See {@link prepareDma}.
   */
  async prepareDma(
    number: number,
    offset: number,
    length: number,
    access: 'read' | 'write',
  ): Promise<FileExtent[]> {
    return await prepareDma(this.#live, number, { offset, length, access });
  }

  /** Makes an empty file and gives its inode. @throws DaxdError EEXIST, ENOENT, ENOSPC, EROFS */
  async create(path: string): Promise<number> {
    return await this.#names.create(path);
  }

  /** Makes a directory and gives its inode. @throws DaxdError EEXIST, ENOENT, ENOSPC, EMLINK, EROFS */
  async mkdir(path: string): Promise<number> {
    return await this.#names.mkdir(path);
  }

  /** Makes a symlink and gives its inode. @throws DaxdError EEXIST, EINVAL, ENAMETOOLONG, EROFS */
  async symlink(path: string, target: string): Promise<number> {
    return await this.#names.symlink(path, target);
  }

  /**
   * Removes a name, also that of an empty directory. Waits first, where it is a file's last
   * name, until none of its pages is pinned.
   *
   * @throws DaxdError ENOENT, ENOTEMPTY, EBUSY for the root, EROFS, `cancelled`, `draining`
   */
  async unlink(path: string, change: Change = {}): Promise<void> {
    await this.#names.unlink(path, change);
  }

  /**
   * Moves a name, over what is at `to`: a file over a file, a directory over an empty one.
   * Waits as {@link unlink} does for a file that is replaced.
   *
   * @throws DaxdError ENOENT, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL into its own subtree, EROFS,
   *   `cancelled`, `draining`
   */
  async rename(from: string, to: string, change: Change = {}): Promise<void> {
    await this.#names.rename(from, to, change);
  }

  /** Refuses what comes later, waits for what is under way, and marks the media as unmounted. */
  async unmount(): Promise<void> {
    this.#state = 'unmounted';
    await closeVolume(this.#volume);
  }

  get #live(): Volume {
    this.#assertMounted();
    return this.#volume;
  }

  *#whileMounted<T>(items: Iterable<T>): Generator<T> {
    for (const item of items) {
      yield item;
      this.#assertMounted();
    }
  }

  /** @throws DaxdError ESHUTDOWN once the unmount began: the media may be another's soon */
  #assertMounted(): void {
    if (this.#state === 'mounted') return;
    throw new DaxdError('ESHUTDOWN', 'the filesystem is unmounted');
  }
}
