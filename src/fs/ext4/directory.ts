import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { PAGE_SIZE } from '../../lib/units.js';
import {
  checkDirectoryBlock,
  checkEntries,
  clearDirectoryBlock,
  ENTRIES_END,
  findEntry,
  hasRoom,
  insertEntry,
  placeName,
  readEntries,
  readEntry,
  removeEntry,
  retargetEntry,
  sealDirectoryBlock,
} from './directory-block.js';
import type { DirectoryBlockPlace, DirectoryEntry, EntryPosition } from './directory-block.js';
import { appendBlock, mapExtents } from './extent-tree.js';
import type { Extent } from './extent-tree.js';
import { clearIndexBlock, readIndexBlocks, sealIndexBlock } from './htree.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE, InodeFlag } from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** An entry and where it stands. */
export interface FoundEntry extends DirectoryEntry {
  readonly logical: number;
  readonly position: EntryPosition;
}

/**
 * One directory as a source shows it. Every block is verified on each read, and nothing is
 * kept: an object of this class is good for one synchronous stretch only.
 */
export class Directory {
  readonly inode: Inode;
  readonly #source: BlockSource;
  readonly #volume: Volume;
  #extents: readonly Extent[];
  /** Blocks that hold index instead of names; empty in a linear directory. */
  #indexBlocks: ReadonlySet<number>;

  /** @throws DaxdError ENOTDIR; EUCLEAN or EBADMSG for a size, extent tree or index that is wrong */
  constructor(source: BlockSource, volume: Volume, inode: Inode) {
    if (inode.type !== 'directory') {
      throw new DaxdError('ENOTDIR', `inode ${inode.number} is a ${inode.type}, not a directory`);
    }
    this.inode = inode;
    this.#source = source;
    this.#volume = volume;
    this.#extents = mapExtents(source, volume, inode);
    // No block is mapped twice in a sane directory, so it has no more than the filesystem.
    const isSizeValid =
      Number.isInteger(this.blockCount) &&
      this.blockCount >= 1 &&
      this.blockCount <= volume.superblock.blocksCount;
    if (!isSizeValid) {
      throw new DaxdError('EUCLEAN', `directory inode ${inode.number}: size ${inode.size}`);
    }
    this.#indexBlocks = this.isIndexed ? this.#readIndex() : new Set();
  }

  get blockCount(): number {
    return this.inode.size / BLOCK_SIZE;
  }

  /** Whether it has a hash index. */
  get isIndexed(): boolean {
    return (this.inode.flags & InodeFlag.Index) !== 0;
  }

  /** The inode that ".." names. */
  get parent(): number {
    return this.#parentEntry().inode;
  }

  /** Whether it holds nothing but "." and "..". Reads the whole directory. */
  get isEmpty(): boolean {
    for (let logical = 0; logical < this.blockCount; logical++) {
      if (this.entriesOf(logical).length > 0) return false;
    }
    return true;
  }

  /** The entry called `name`, which is neither "." nor "..". */
  lookup(name: Uint8Array): FoundEntry | undefined {
    for (let logical = 0; logical < this.blockCount; logical++) {
      if (this.#indexBlocks.has(logical)) continue;
      const block = this.#readLeaf(logical);
      const position = findEntry(block, ENTRIES_END, name);
      if (position !== undefined) {
        return { ...readEntry(block, position.offset), logical, position };
      }
    }
    return undefined;
  }

  /** Copies of the entries of one block, without "." and "..". */
  entriesOf(logical: number): DirectoryEntry[] {
    if (this.#indexBlocks.has(logical)) return [];
    const entries = readEntries(this.#readLeaf(logical), ENTRIES_END);
    return logical === 0 ? entries.slice(2) : entries;
  }

  /**
   * Adds a name that is not there yet. A hash index is given up for it, and the directory is
   * linear from then on. Changes size and flags of the inode, which the caller stores.
   */
  insert(txn: Transaction, entry: DirectoryEntry): void {
    assert(this.#source === txn, 'a directory is changed through the transaction it was read in');
    for (const logical of this.#indexBlocks) {
      clearIndexBlock(txn.modify(this.#physical(logical)), this.inode.checksumSeed, logical);
    }
    this.inode.flags &= ~InodeFlag.Index;

    this.#indexBlocks = new Set();

    const place = this.#logicalWithRoom(entry.name.length);
    if (place === undefined) this.#append(txn, entry);
    else this.#changeLeaf(txn, place, (block) => insertEntry(block, entry));
  }

  /** Takes a name out; an index stays as it is, for it may point at blocks without the name. */
  remove(txn: Transaction, { logical, position }: FoundEntry): void {
    this.#changeLeaf(txn, logical, (block) => {
      removeEntry(block, position);
    });
  }

  /** Points a name at another inode. */
  retarget(
    txn: Transaction,
    { logical, position }: FoundEntry,
    target: { readonly inode: number; readonly entryType: number },
  ): void {
    this.#changeLeaf(txn, logical, (block) => {
      retargetEntry(block, position.offset, target);
    });
  }

  /** Points ".." at another directory. */
  setParent(txn: Transaction, parent: number): void {
    const { offset } = this.#parentEntry();
    const block = txn.modify(this.#physical(0));
    block.writeUInt32LE(parent, offset);
    const { checksumSeed } = this.inode;
    if (this.isIndexed) sealIndexBlock(block, checksumSeed, 0);
    else sealDirectoryBlock(block, checksumSeed);
  }

  #logicalWithRoom(nameLength: number): number | undefined {
    for (let logical = 0; logical < this.blockCount; logical++) {
      if (hasRoom(this.#readLeaf(logical), nameLength)) return logical;
    }
    return undefined;
  }

  #append(txn: Transaction, entry: DirectoryEntry): void {
    const block = txn.fresh(appendBlock(txn, this.#volume, this.inode));
    this.#extents = mapExtents(txn, this.#volume, this.inode);
    clearDirectoryBlock(block);
    insertEntry(block, entry);
    sealDirectoryBlock(block, this.inode.checksumSeed);
  }

  #changeLeaf(txn: Transaction, logical: number, change: (block: Buffer) => void): void {
    assert(this.#source === txn, 'a directory is changed through the transaction it was read in');
    const block = txn.modify(this.#physical(logical));
    change(block);
    sealDirectoryBlock(block, this.inode.checksumSeed);
  }

  #readIndex(): Set<number> {
    return readIndexBlocks({
      count: this.blockCount,
      seed: this.inode.checksumSeed,
      read: (logical) => this.#source.block(this.#physical(logical)),
      place: (logical) => this.#place(logical),
    });
  }

  #readLeaf(logical: number): Buffer {
    const block = this.#source.block(this.#physical(logical));
    checkDirectoryBlock(block, this.inode.checksumSeed, this.#place(logical));
    return block;
  }

  #parentEntry(): { readonly inode: number; readonly offset: number } {
    const block = this.#source.block(this.#physical(0));
    // The index, if there is one, was verified when the directory was read.
    if (this.isIndexed) checkEntries(block, PAGE_SIZE, this.#place(0));
    else this.#readLeaf(0);
    const offset = block.readUInt16LE(4);
    return { inode: block.readUInt32LE(offset), offset };
  }

  #place(logical: number): DirectoryBlockPlace {
    const { firstInode, inodesCount } = this.#volume.superblock;
    return { directory: this.inode.number, logical, firstInode, inodesCount };
  }

  /** @throws DaxdError EUCLEAN: a directory has neither holes nor unwritten blocks */
  #physical(logical: number): number {
    let low = 0;
    let high = this.#extents.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const extent = this.#extents[middle];
      assert(extent !== undefined, 'the search stays in the list');
      if (logical < extent.logical) high = middle;
      else if (logical >= extent.logical + extent.length) low = middle + 1;
      else if (extent.unwritten) break;
      else return extent.physical + logical - extent.logical;
    }
    throw new DaxdError(
      'EUCLEAN',
      `${placeName(this.#place(logical))}: there is no block on the media; run e2fsck`,
    );
  }
}
