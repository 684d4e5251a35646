import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { partitionPoint } from '../../lib/partition-point.js';
import { damaged } from '../damage.js';
import { appendBlock } from './append-block.js';
import { BlockKind, blockRole } from './buffer-cache.js';
import { checkDirectoryBlock, placeName, sealDirectoryBlock } from './directory-block.js';
import type { DirectoryBlockPlace } from './directory-block.js';
import { mapExtents, treeOf } from './extent-tree.js';
import type { Extent } from './extent.js';
import type { ChangingIndexBlocks } from './htree-insert.js';
import { checkIndexBlock, sealIndexBlock } from './htree.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { Transaction } from './transaction.js';
import type { BlockSource } from './transaction.js';
import type { Volume } from './volume.js';

/** Directories count their bytes in 32 bits without the largedir feature. */
const DIRECTORY_BLOCKS_MAX = 2 ** 32 / BLOCK_SIZE - 1;

/**
 * The blocks of one directory: where they lie, verified before they are shown, sealed after
 * they are changed. Only what is asked for is read, of the extent tree too.
 *
 * An object of this class is good for one synchronous stretch only.
 */
export class DirectoryBlocks implements ChangingIndexBlocks {
  readonly #source: BlockSource;
  readonly #volume: Volume;
  readonly #inode: Inode;
  /** Extents that were looked up or added, ascending. */
  readonly #known: Extent[] = [];

  /** @throws DaxdError EUCLEAN for a size that no directory has */
  constructor(source: BlockSource, volume: Volume, inode: Inode) {
    this.#source = source;
    this.#volume = volume;
    this.#inode = inode;
    // No block is mapped twice in a sane directory, so it has no more than the filesystem.
    const blocksMax = Math.min(volume.superblock.blocksCount, DIRECTORY_BLOCKS_MAX);
    if (!Number.isInteger(this.count) || this.count < 1 || this.count > blocksMax) {
      throw damaged(`directory inode ${inode.number}: size ${inode.size}`);
    }
  }

  get count(): number {
    return this.#inode.size / BLOCK_SIZE;
  }

  get directory(): number {
    return this.#inode.number;
  }

  index(logical: number): Buffer {
    const physical = this.physical(logical);
    const block = this.#source.block(physical);
    const role = this.#indexRole(logical);
    if (!this.#source.isVerified(physical, role)) {
      const { count } = this;
      const { checksumSeed: seed } = this.#inode;
      checkIndexBlock(block, { seed, count, place: this.#place(logical) });
      this.#source.markVerified(physical, role);
    }
    return block;
  }

  leaf(logical: number): Buffer {
    const physical = this.physical(logical);
    const block = this.#source.block(physical);
    const role = this.#leafRole(logical);
    if (!this.#source.isVerified(physical, role)) {
      checkDirectoryBlock(block, this.#inode.checksumSeed, this.#place(logical));
      this.#source.markVerified(physical, role);
    }
    return block;
  }

  changeIndex(logical: number, change: (block: Buffer) => void): void {
    const physical = this.physical(logical);
    const block = this.#transaction.modify(physical);
    change(block);
    this.#sealIndex(physical, block, logical);
  }

  changeLeaf(logical: number, change: (block: Buffer) => void): void {
    const physical = this.physical(logical);
    const block = this.#transaction.modify(physical);
    change(block);
    this.#sealLeaf(physical, block, logical);
  }

  appendIndex(fill: (block: Buffer, logical: number) => void): number {
    const { physical, block, logical } = this.#append();
    fill(block, logical);
    this.#sealIndex(physical, block, logical);
    return logical;
  }

  appendLeaf(fill: (block: Buffer) => void): number {
    const { physical, block, logical } = this.#append();
    fill(block);
    this.#sealLeaf(physical, block, logical);
    return logical;
  }

  /**
   * Where a block lies on the media.
   *
   * @throws DaxdError EUCLEAN: a directory has neither holes nor unwritten blocks
   */
  physical(logical: number): number {
    const next = firstBehind(this.#known, logical);
    const known = this.#known[next - 1];
    if (known !== undefined && covers(known, logical)) {
      return known.physical + logical - known.logical;
    }
    const span = { from: logical, to: logical + 1 };
    const extent = mapExtents(treeOf(this.#source, this.#volume, this.#inode), span).at(0);
    if (extent === undefined || extent.unwritten || !covers(extent, logical)) {
      throw damaged(`${placeName(this.#place(logical))}: there is no block on the media`);
    }
    this.#known.splice(next, 0, extent);
    return extent.physical + logical - extent.logical;
  }

  /** The inode grows; the caller stores it. */
  #append(): { readonly physical: number; readonly block: Buffer; readonly logical: number } {
    const logical = this.count;
    if (logical >= DIRECTORY_BLOCKS_MAX) {
      throw new DaxdError('ENOSPC', `directory inode ${this.directory} cannot grow past 4 GiB`);
    }
    const physical = appendBlock(this.#transaction, this.#volume, this.#inode);
    this.#known.push({ logical, physical, length: 1, unwritten: false });
    return { physical, block: this.#transaction.fresh(physical), logical };
  }

  #sealIndex(physical: number, block: Buffer, logical: number): void {
    this.#transaction.changesNames = true;
    sealIndexBlock(block, this.#inode.checksumSeed, logical);
    this.#source.markVerified(physical, this.#indexRole(logical));
  }

  #sealLeaf(physical: number, block: Buffer, logical: number): void {
    this.#transaction.changesNames = true;
    sealDirectoryBlock(block, this.#inode.checksumSeed);
    this.#source.markVerified(physical, this.#leafRole(logical));
  }

  /** The first block has a role of its own, so that what passed for one is not taken for the other. */
  #indexRole(logical: number): number {
    return blockRole(logical === 0 ? BlockKind.IndexRoot : BlockKind.IndexNode, this.directory);
  }

  #leafRole(logical: number): number {
    return blockRole(logical === 0 ? BlockKind.FirstLeaf : BlockKind.DirectoryLeaf, this.directory);
  }

  get #transaction(): Transaction {
    const source = this.#source;
    assert(
      source instanceof Transaction,
      'a directory is changed through the transaction it was read in',
    );
    return source;
  }

  #place(logical: number): DirectoryBlockPlace {
    const { firstInode, inodesCount } = this.#volume.superblock;
    return { directory: this.directory, logical, firstInode, inodesCount };
  }
}

function covers({ logical, length }: Extent, wanted: number): boolean {
  return wanted >= logical && wanted < logical + length;
}

/** Which of ascending extents is the first that begins behind a block. */
function firstBehind(extents: readonly Extent[], block: number): number {
  return partitionPoint(extents, ({ logical }) => logical <= block);
}
