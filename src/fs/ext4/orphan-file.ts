import { crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { checksumMismatch, damaged } from '../damage.js';
import { BlockKind, blockRole } from './buffer-cache.js';
import { crc32cU64 } from './checksum.js';
import { mapExtents, treeOf } from './extent-tree.js';
import { countBlocks } from './extent.js';
import { readAnyInode } from './inode.js';
import type { Inode } from './inode.js';
import {
  BLOCK_SIZE,
  FeatureCompat,
  ModeType,
  ORPHAN_BLOCK_MAGIC,
  ORPHAN_SLOTS_END,
  SuperField,
} from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** A block of the file: numbers of 32 bits, then magic and checksum. */
const SLOTS_PER_BLOCK = ORPHAN_SLOTS_END / 4;
const MAGIC_OFFSET = ORPHAN_SLOTS_END;
const CHECKSUM_OFFSET = ORPHAN_SLOTS_END + 4;
const FREE = 0;

/** The largest file that mke2fs makes: 8 MiB. */
const BLOCKS_MAX = 2048;

/** A place in the file. */
interface Slot {
  readonly block: number;
  /** In bytes of the block. */
  readonly offset: number;
}

/**
 * The file of orphaned inodes: slots that hold the number of an inode, or 0. A change touches
 * one block of it, and not the superblock as the classic list does.
 *
 * An object of this class is good for one synchronous stretch.
 *
 * @kernel struct ext4_orphan_info (fs/ext4/ext4.h)
 */
export class OrphanFile {
  readonly #source: BlockSource;
  readonly #inode: Inode;
  readonly #blocks: readonly number[];

  private constructor(source: BlockSource, inode: Inode, blocks: readonly number[]) {
    this.#source = source;
    this.#inode = inode;
    this.#blocks = blocks;
  }

  /**
   * The file of a filesystem that has one.
   *
   * @throws DaxdError EUCLEAN when it is no file of whole, written blocks; EBADMSG
   * @kernel ext4_init_orphan_info (fs/ext4/orphan.c)
   */
  static open(source: BlockSource, volume: Volume): OrphanFile | undefined {
    const { compat, bytes } = volume.superblock;
    if ((compat & FeatureCompat.OrphanFile) === 0) return undefined;
    const number = bytes.readUInt32LE(SuperField.OrphanFileInode);
    const inode = readAnyInode(source, volume, number);
    const isFile = (inode.mode & ModeType.Mask) === ModeType.File && inode.linksCount > 0;
    if (!isFile || !inode.hasExtents) throw damagedOrphanFile(number, 'is no regular file');
    const count = inode.size / BLOCK_SIZE;
    if (!Number.isInteger(count) || count > BLOCKS_MAX) {
      throw damagedOrphanFile(number, `has a size of ${inode.size} bytes`);
    }
    return new OrphanFile(source, inode, mappedBlocks(source, volume, inode, count));
  }

  /**
   * Every number that it holds, in the order of the slots. @throws DaxdError EBADMSG, EUCLEAN
   */
  numbers(): number[] {
    return this.#blocks.flatMap((block) => {
      const slots = slotsOf(this.#read(block));
      return [...slots].filter((number) => number !== FREE);
    });
  }

  /** Puts a number into a free slot, unless it is there; false when all slots are taken. */
  add(txn: Transaction, number: number): boolean {
    if (this.#find(number) !== undefined) return true;
    const free = this.#find(FREE);
    if (free === undefined) return false;
    this.#set(txn, free, number);
    return true;
  }

  /** Takes a number out; false when it is not there. */
  remove(txn: Transaction, number: number): boolean {
    const slot = this.#find(number);
    if (slot === undefined) return false;
    this.#set(txn, slot, FREE);
    return true;
  }

  #find(number: number): Slot | undefined {
    for (const block of this.#blocks) {
      const index = slotsOf(this.#read(block)).indexOf(number);
      if (index >= 0) return { block, offset: index * 4 };
    }
    return undefined;
  }

  #set(txn: Transaction, { block, offset }: Slot, number: number): void {
    const bytes = txn.modify(block);
    bytes.writeUInt32LE(number, offset);
    seal(bytes, this.#inode.checksumSeed, block);
  }

  /** @kernel ext4_orphan_file_block_csum_verify (fs/ext4/orphan.c) */
  #read(block: number): Buffer {
    const bytes = this.#source.block(block);
    const role = blockRole(BlockKind.OrphanBlock, this.#inode.number);
    if (this.#source.isVerified(block, role)) return bytes;
    if (bytes.readUInt32LE(MAGIC_OFFSET) !== ORPHAN_BLOCK_MAGIC) {
      throw damagedOrphanFile(this.#inode.number, `block ${block} has no magic`);
    }
    if (
      bytes.readUInt32LE(CHECKSUM_OFFSET) !== checksumOf(bytes, this.#inode.checksumSeed, block)
    ) {
      throw checksumMismatch(`block ${block} of the orphan file`);
    }
    this.#source.markVerified(block, role);
    return bytes;
  }
}

/** A block of the file without an orphan, sealed. `seed` is that of the file's inode. */
export function encodeOrphanBlock(seed: number, block: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_SIZE);
  bytes.writeUInt32LE(ORPHAN_BLOCK_MAGIC, MAGIC_OFFSET);
  seal(bytes, seed, block);
  return bytes;
}

function seal(bytes: Buffer, seed: number, block: number): void {
  bytes.writeUInt32LE(checksumOf(bytes, seed, block), CHECKSUM_OFFSET);
}

function checksumOf(bytes: Buffer, seed: number, block: number): number {
  return crc32c(crc32cU64(seed, block), bytes.subarray(0, ORPHAN_SLOTS_END));
}

/** The numbers of its blocks. @throws DaxdError EUCLEAN where they are not `count`, all of them written */
function mappedBlocks(source: BlockSource, volume: Volume, inode: Inode, count: number): number[] {
  const extents = mapExtents(treeOf(source, volume, inode));
  if (countBlocks(extents) !== count || extents.some(({ unwritten }) => unwritten)) {
    throw damagedOrphanFile(
      inode.number,
      `maps ${countBlocks(extents)} blocks, its size is ${count}`,
    );
  }
  return extents.flatMap(({ physical, length }) => Array.from({ length }, (_, i) => physical + i));
}

/** The slots as the machine's numbers: they lie in the format's order, which is this machine's. */
function slotsOf(bytes: Buffer): Uint32Array {
  if (bytes.byteOffset % 4 === 0) {
    return new Uint32Array(bytes.buffer, bytes.byteOffset, SLOTS_PER_BLOCK);
  }
  return new Uint32Array(Uint8Array.from(bytes.subarray(0, ORPHAN_SLOTS_END)).buffer);
}

function damagedOrphanFile(number: number, what: string): DaxdError {
  return damaged(`orphan file, inode ${number}: ${what}`);
}
