import type { Layouts } from '../../dax/layouts.js';
import type { Clock } from '../../lib/clock.js';
import { DaxdError } from '../../lib/errno.js';
import type { Logger } from '../../lib/logger.js';
import type { BackingRange } from '../../media/backing-range.js';
import type { SpecialNode } from './device-node.js';
import type { CommitCounters } from './commits.js';
import { listDirectory } from './directory-listing.js';
import type { ListedEntry } from './directory-listing.js';
import { Evictions } from './evictions.js';
import { FileNow } from './file-now.js';
import { fileExtents, readFile, readFileStream } from './file-read.js';
import type { FileExtent } from './file-read.js';
import { seekData, seekHole } from './file-seek.js';
import { collapseRange, insertRange } from './file-shift.js';
import { fallocate, punchHole, zeroRange } from './file-space.js';
import { FileStream } from './file-stream.js';
import { truncateFile } from './file-truncate.js';
import { appendFile, writeFile } from './file-write.js';
import { BLOCK_SIZE } from './layout.js';
import type { Change, ChangeResult } from './layout-break.js';
import { closeVolume, openVolume } from './mount-state.js';
import { inodeAt, readFileInode } from './named-inode.js';
import { Names } from './names.js';
import type { RemoveOptions, RenameOptions } from './names.js';
import type { OpenFile } from './open-file.js';
import { prepareDma } from './prepare-dma.js';
import { putFile } from './put-file.js';
import type { PutChange, PutResult } from './put-file.js';
import { Quarantine } from './quarantine.js';
import { readRegular } from './regular-file.js';
import { setAttributes } from './set-attributes.js';
import type { AttributeChange } from './set-attributes.js';
import { statOf } from './stat.js';
import type { Stat } from './stat.js';
import type { Volume } from './volume.js';
import { getXattr, listXattrs, removeXattr, setXattr } from './xattrs.js';
import type { XattrChoice } from './xattrs.js';

/** What {@link mountExt4} is told. */
export interface MountOptions {
  readonly readOnly: boolean;
  readonly layouts: Layouts;
  readonly log: Logger;
  readonly clock: Clock;
  /** Draws the sequence that the log begins with, from 0 to 2 ** 32 - 1; tests hold it still. */
  readonly random?: () => number;
}

/** What `statfs` answers. */
export interface StatFs {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** What is free and not kept for root. */
  readonly availableBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
  /** What is in quarantine, and how much may be. */
  readonly quarantinedBytes: number;
  readonly quarantineLimitBytes: number;
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
  const volume = await openVolume(range, options);
  return new Ext4(volume, await Evictions.begin(volume));
}

/** A mounted ext4. Inode numbers come from {@link lookup} and its like; keep none across a wait. */
export class Ext4 {
  /** Blocks that left their files while they were pinned. */
  readonly quarantine: Quarantine;
  readonly #volume: Volume;
  readonly #evictions: Evictions;
  readonly #names: Names;
  #state: 'mounted' | 'unmounted' = 'mounted';

  /** Takes over an open volume; see {@link mountExt4}. */
  constructor(volume: Volume, evictions = new Evictions(volume)) {
    this.quarantine = new Quarantine(volume);
    this.#volume = volume;
    this.#evictions = evictions;
    this.#names = new Names(volume, evictions);
  }

  get readOnly(): boolean {
    return this.#volume.readOnly;
  }

  /** Makes it read-only while a reason is given, which is a part of a sentence. */
  refuseChangesWhile(reason: () => string | undefined): void {
    this.#volume.refuseChangesWhile(reason);
  }

  /** What went wrong with the media since the mount; read-only then. Undefined while nothing did. */
  get failure(): string | undefined {
    return this.#volume.failure;
  }

  /** What was committed since the mount. */
  get commitCounters(): CommitCounters {
    return this.#volume.commitCounters;
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

  /** Sizes of the whole filesystem. */
  statfs(): StatFs {
    const { superblock, free, damaged, reservations } = this.#volume;
    const freeBlocks = Math.max(0, free.blocks - damaged.blocks.free - reservations.count);
    return {
      totalBytes: superblock.blocksCount * BLOCK_SIZE,
      freeBytes: freeBlocks * BLOCK_SIZE,
      availableBytes: Math.max(0, freeBlocks - superblock.reservedBlocks) * BLOCK_SIZE,
      totalInodes: superblock.inodesCount,
      freeInodes: free.inodes - damaged.inodes.free,
      quarantinedBytes: this.quarantine.bytes,
      quarantineLimitBytes: this.quarantine.capBytes,
    };
  }

  /**
   * The inode at a path from the root; `''` is the root. Symlinks are followed, the last one
   * unless `follow` is false.
   *
   * @throws DaxdError ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL; EBADMSG, EUCLEAN
   */
  lookup(path: string, { follow = true }: { readonly follow?: boolean } = {}): number {
    return inodeAt(this.#live, path, { follow }).number;
  }

  /**
   * What is at a path, symlinks followed, with its inode read once: good until the caller next
   * awaits.
   *
   * @throws DaxdError as {@link lookup} does
   */
  fileAt(path: string): FileNow {
    return new FileNow(this.#live, inodeAt(this.#live, path, { follow: true }));
  }

  /**
   * What an inode holds now, whether it has a name or not.
   *
   * @throws DaxdError ENOENT when it is free; EBADMSG, EUCLEAN
   */
  fileOf(number: number): FileNow {
    return new FileNow(this.#live, readFileInode(this.#live, this.#live, number));
  }

  /** @throws DaxdError ENOENT when the inode was freed; EBADMSG, EUCLEAN */
  stat(number: number): Stat {
    return statOf(this.#live, readFileInode(this.#live, this.#live, number));
  }

  /** Entries of a directory, see {@link listDirectory}; the reader may wait between them. */
  readdir(number: number): Iterable<ListedEntry> {
    return this.#whileMounted(listDirectory(this.#live, number));
  }

  /** Where the bytes [from, to) of a file lie, whole blocks around them; holes are left out. */
  extents(number: number, from = 0, to = Infinity): FileExtent[] {
    return fileExtents(this.#live, readFileInode(this.#live, this.#live, number), from, to);
  }

  /** The first byte of data at or after `offset`. @throws DaxdError ENXIO, see {@link seekData} */
  seekData(number: number, offset: number): number {
    return seekData(this.#live, number, offset);
  }

  /** The first byte in a hole at or after `offset`. @throws DaxdError ENXIO, see {@link seekHole} */
  seekHole(number: number, offset: number): number {
    return seekHole(this.#live, number, offset);
  }

  /** Copies a file's bytes from `offset` on to `target`, and gives how many there were. */
  read(number: number, offset: number, target: Uint8Array): number {
    return readFile(this.#live, number, offset, target);
  }

  /**
   * Keeps a file, whatever becomes of its names: it is reached by its number until
   * {@link OpenFile.close}, which must come.
   *
   * @throws DaxdError EISDIR, EINVAL for what is no regular file, ENOENT
   */
  open(number: number): OpenFile {
    return this.#evictions.open(readRegular(this.#live, this.#live, number).number);
  }

  /**
   * A file's bytes in pieces that are the reader's own, each as it is when it is read. The file
   * is open from this call on, so one that is removed meanwhile is read to its end; read to the
   * end, or leave the loop, and it is closed.
   */
  readStream(number: number, offset: number, length: number): FileStream {
    const pieces = this.#readPieces(number, offset, length);
    return new FileStream(this.open(number), pieces);
  }

  /**
   * Makes a stream of bytes the whole content of the file at a path: all of it, durably, or
   * nothing. A file that is there keeps its inode and waits as {@link truncate} does. See
   * {@link putFile}.
   *
   * @throws DaxdError EEXIST with `exclusive` when something is there, a symlink too
   */
  async replace(
    path: string,
    source: AsyncIterable<Uint8Array>,
    change: PutChange = {},
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

  /**
   * Writes at the end of a file, wherever it is by then, and gives the offset; no two of them
   * go to the same place. Otherwise as {@link write}.
   */
  async append(number: number, source: Uint8Array): Promise<number> {
    return await appendFile(this.#live, number, source);
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

  /**
   * Takes whole blocks out of a file, what is behind them moves up; waits for all pages from
   * `offset` on. See {@link collapseRange}.
   *
   * @throws DaxdError EINVAL when it is not whole blocks, or reaches the end of the file
   */
  async collapseRange(
    number: number,
    offset: number,
    length: number,
    change: Change = {},
  ): Promise<ChangeResult> {
    return await collapseRange(this.#live, number, { offset, length }, change);
  }

  /**
   * Puts a hole of whole blocks into a file, what is behind it moves back; waits for all pages
   * from `offset` on. See {@link insertRange}.
   *
   * @throws DaxdError EINVAL when it is not whole blocks, or begins past the end; EFBIG
   */
  async insertRange(
    number: number,
    offset: number,
    length: number,
    change: Change = {},
  ): Promise<ChangeResult> {
    return await insertRange(this.#live, number, { offset, length }, change);
  }

  /** Gives a file blocks for all of a range; waits for no page. See {@link fallocate}. */
  async fallocate(
    number: number,
    offset: number,
    length: number,
    { keepSize }: Pick<SpaceChange, 'keepSize'>,
  ): Promise<ChangeResult> {
    await fallocate(this.#live, number, { offset, length, keepSize });
    return { waitedMs: 0, freedBytes: 0, quarantinedBytes: 0 };
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

  /** Settles when all that reads see now is durable; undefined where it is. @throws DaxdError EIO */
  whenDurable(): Promise<void> | undefined {
    return this.#live.whenDurable();
  }

  /** Sets permissions, owner and times; what is left out stays. See {@link setAttributes}. */
  async setAttributes(number: number, change: AttributeChange): Promise<void> {
    await setAttributes(this.#live, number, change);
  }

  /** Names of an inode's extended attributes. See {@link listXattrs}. */
  listXattrs(number: number): string[] {
    return listXattrs(this.#live, number);
  }

  /** The value of an extended attribute. @throws DaxdError ENODATA, see {@link getXattr} */
  getXattr(number: number, name: string): Buffer {
    return getXattr(this.#live, number, name);
  }

  /** Sets an extended attribute, durably. @throws DaxdError EEXIST, ENODATA, ENOSPC, see {@link setXattr} */
  async setXattr(
    number: number,
    name: string,
    value: Uint8Array,
    { only }: XattrChoice = {},
  ): Promise<void> {
    await setXattr(this.#live, number, { name, value, only });
  }

  /** Removes an extended attribute, durably. @throws DaxdError ENODATA, see {@link removeXattr} */
  async removeXattr(number: number, name: string): Promise<void> {
    await removeXattr(this.#live, number, name);
  }

  /** Makes an empty file and gives its inode. @throws DaxdError EEXIST, ENOENT, ENOSPC, EROFS */
  async create(path: string): Promise<number> {
    return await this.#names.create(path);
  }

  /** Makes a directory and gives its inode. @throws DaxdError EEXIST, ENOENT, ENOSPC, EMLINK, EROFS */
  async mkdir(path: string): Promise<number> {
    return await this.#names.mkdir(path);
  }

  /**
   * Makes a device, fifo or socket and gives its inode.
   *
   * @throws DaxdError EINVAL for the device number, EEXIST, ENOENT, ENOSPC, EROFS
   */
  async mknod(path: string, node: SpecialNode): Promise<number> {
    return await this.#names.mknod(path, node);
  }

  /**
   * Adds another name for a file, or for a symlink itself.
   *
   * @throws DaxdError EEXIST, ENOENT, EPERM for a directory, EMLINK past 65000 names, ENOSPC,
   *   EROFS
   */
  async link(from: string, to: string): Promise<void> {
    await this.#names.link(from, to);
  }

  /** Makes a symlink and gives its inode. @throws DaxdError EEXIST, EINVAL, ENAMETOOLONG, EROFS */
  async symlink(path: string, target: string): Promise<number> {
    return await this.#names.symlink(path, target);
  }

  /**
   * Removes a name, also that of an empty directory. With the last name of a file its blocks
   * go, at once where nobody has it open and no page is pinned, else when that is so. With `defer`
   * pinned ones go into the quarantine instead.
   *
   * @throws DaxdError ENOENT, ENOTEMPTY, EBUSY for the root, EPERM, EROFS
   */
  async unlink(path: string, options: RemoveOptions = {}): Promise<void> {
    await this.#names.unlink(path, options);
  }

  /**
   * Moves a name, over what is at `to`: a file over a file, a directory over an empty one.
   * What is replaced goes as with {@link unlink}.
   *
   * @throws DaxdError ENOENT, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL into its own subtree, EEXIST
   *   with `noReplace`, EMLINK, EPERM, EROFS
   */
  async rename(from: string, to: string, options: RenameOptions = {}): Promise<void> {
    await this.#names.rename(from, to, options);
  }

  /** Refuses what comes later, waits for what is under way, and marks the media as unmounted. */
  async unmount(): Promise<void> {
    this.#state = 'unmounted';
    await this.#evictions.close();
    await this.#volume.quarantine.told();
    await closeVolume(this.#volume);
  }

  get #live(): Volume {
    this.#assertMounted();
    return this.#volume;
  }

  async *#readPieces(
    number: number,
    offset: number,
    length: number,
  ): AsyncGenerator<Buffer, void, undefined> {
    const pieces = readFileStream(this.#live, number, offset, length);
    // One by one: the reader may take its time, and the media be another's when it comes back.
    for (let piece = await pieces.next(); piece.done !== true; piece = await pieces.next()) {
      yield piece.value;
      this.#assertMounted();
    }
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
