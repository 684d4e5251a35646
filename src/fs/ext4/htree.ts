import { assert } from '../../lib/assert.js';
import { crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { checksumMismatch, damaged } from '../damage.js';
import { checkEntries, ENTRIES_END, initDirectoryBlock, placeName } from './directory-block.js';
import type { DirectoryBlockPlace } from './directory-block.js';
import { DxHash } from './dx-hash.js';
import { BLOCK_SIZE } from './layout.js';

/**
 * One block of the hash index of a directory: a table of (hash, block) pairs in ascending
 * order of the hashes. A block holds the names from its own hash up to the next pair's; the
 * first pair has no hash, for limit and count stand in its place. Bit 0 of a hash says that
 * names of this very hash stand in the block before, too.
 *
 * Root (block 0): "." and a ".." whose record covers the rest, in which the index hides.
 * Node: one unused entry that covers the block. Neither has the tail of a leaf.
 *
 * @kernel struct dx_root, struct dx_node, struct dx_entry, struct dx_tail (fs/ext4/namei.c)
 */

/** Levels below the root without the largedir feature, which the feature gate refuses. */
export const INDEX_LEVELS_MAX = 1;

const ROOT_INFO = 0x18;
const ROOT_HASH_VERSION = 0x1c;
const ROOT_INFO_LENGTH = 0x1d;
const ROOT_LEVELS = 0x1e;
const DOTDOT_REC_LEN = 12 + 4;
const ROOT_TABLE = 0x20;
const NODE_TABLE = 8;
const PAIR_BYTES = 8;
const ROOT_INFO_BYTES = 8;
const BLOCK_MASK = 0x0fffffff;
const ZERO_WORD = Buffer.alloc(4);

/** What a block of an index is checked against. */
export interface IndexBlockCheck {
  /** Checksum seed of the directory's inode. */
  readonly seed: number;
  /** Blocks in the directory. */
  readonly count: number;
  readonly place: DirectoryBlockPlace;
}

/** The table of one index block that was checked, in place. */
export class IndexTable {
  readonly #block: Buffer;
  readonly #start: number;

  /** @param logical 0 for the root of the index */
  constructor(block: Buffer, logical: number) {
    this.#block = block;
    this.#start = logical === 0 ? ROOT_TABLE : NODE_TABLE;
  }

  /** Pairs in use. */
  get count(): number {
    return this.#block.readUInt16LE(this.#start + 2);
  }

  get isFull(): boolean {
    return this.count >= capacity(this.#start);
  }

  /** The hash from which on names stand in block `i`; 0 for the first one. */
  hash(i: number): number {
    return i === 0 ? 0 : this.#block.readUInt32LE(this.#at(i));
  }

  /** The logical block of pair `i`. */
  child(i: number): number {
    return this.#block.readUInt32LE(this.#at(i) + 4) & BLOCK_MASK;
  }

  /** The last pair whose hash is not above `hash`. */
  search(hash: number): number {
    let low = 1;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.hash(middle) > hash) high = middle;
      else low = middle + 1;
    }
    return low - 1;
  }

  /** Puts a pair in front of pair `i`, which is not the first. */
  insert(i: number, hash: number, child: number): void {
    assert(i > 0 && i <= this.count && !this.isFull, 'a pair goes into a table with room for it');
    const at = this.#at(i);
    this.#block.copyWithin(at + PAIR_BYTES, at, this.#at(this.count));
    this.#block.writeUInt32LE(hash, at);
    this.#block.writeUInt32LE(child, at + 4);
    this.#setCount(this.count + 1);
  }

  /** Moves the pairs from `i` on to the empty table of another block. */
  moveFrom(i: number, target: IndexTable): void {
    const { count } = this;
    this.#block.copy(target.#block, target.#start, this.#at(i), this.#at(count));
    // The first pair of the target lost its hash to these two.
    target.#block.writeUInt16LE(capacity(target.#start), target.#start);
    target.#setCount(count - i);
    this.#block.fill(0, this.#at(Math.max(i, 1)), this.#at(count));
    this.#setCount(i);
  }

  /** Makes `child` the only pair. */
  reset(child: number): void {
    this.#block.writeUInt16LE(capacity(this.#start), this.#start);
    this.#setCount(1);
    this.#block.writeUInt32LE(child, this.#start + 4);
  }

  #at(i: number): number {
    return this.#start + PAIR_BYTES * i;
  }

  #setCount(count: number): void {
    this.#block.writeUInt16LE(count, this.#start + 2);
  }
}

/**
 * Checks an index block, so that its table can be used without a further check.
 *
 * @throws DaxdError EBADMSG for the checksum; EUCLEAN for a header that is wrong, and a table
 *   that is not sorted, points past the directory, at the root, itself or twice at one block
 * @kernel dx_probe, ext4_dx_csum_verify (fs/ext4/namei.c)
 */
export function checkIndexBlock(block: Buffer, check: IndexBlockCheck): void {
  const { place } = check;
  const isRoot = place.logical === 0;
  if (isRoot) {
    checkEntries(block, BLOCK_SIZE, place);
    checkRootInfo(block, place);
  } else {
    const isNode = block.readUInt32LE(0) === 0 && block.readUInt16LE(4) === BLOCK_SIZE;
    if (!isNode) throw damagedIndex(place, 'it is no node of the index');
  }

  const start = isRoot ? ROOT_TABLE : NODE_TABLE;
  checkTableHeader(block, start, place);
  const { at, computed } = indexChecksum(block, check.seed, start);
  if (block.readUInt32LE(at) !== computed) throw checksumMismatch(`${placeName(place)}, its index`);
  checkPairs(new IndexTable(block, place.logical), check);
}

/** Which hash a checked root names: see {@link DxHash}. */
export function hashVersion(root: Buffer): number {
  return root.readUInt8(ROOT_HASH_VERSION);
}

/** Levels of nodes between a checked root and the leaves. */
export function indexLevels(root: Buffer): number {
  return root.readUInt8(ROOT_LEVELS);
}

/** Says in the root how many levels of nodes there are. */
export function setIndexLevels(root: Buffer, levels: number): void {
  root.writeUInt8(levels, ROOT_LEVELS);
}

/** Makes `block` the root of an index with one leaf. */
export function initIndexRoot(
  block: Buffer,
  root: {
    readonly self: number;
    readonly parent: number;
    readonly hashVersion: number;
    readonly leaf: number;
  },
): void {
  initDirectoryBlock(block, root.self, root.parent);
  block.fill(0, ENTRIES_END);
  block.writeUInt16LE(BLOCK_SIZE - 12, DOTDOT_REC_LEN);
  block.writeUInt8(root.hashVersion, ROOT_HASH_VERSION);
  block.writeUInt8(ROOT_INFO_BYTES, ROOT_INFO_LENGTH);
  new IndexTable(block, 0).reset(root.leaf);
}

/** Makes a zeroed block a node of an index; its table is to be filled. */
export function initIndexNode(block: Buffer): void {
  block.writeUInt16LE(BLOCK_SIZE, 4);
}

/** Seals an index block after a change, also of the entries in it, such as "..". */
export function sealIndexBlock(block: Buffer, seed: number, logical: number): void {
  const start = logical === 0 ? ROOT_TABLE : NODE_TABLE;
  const { at, computed } = indexChecksum(block, seed, start);
  block.writeUInt32LE(computed, at);
}

function checkRootInfo(root: Buffer, place: DirectoryBlockPlace): void {
  if (root.readUInt16LE(DOTDOT_REC_LEN) !== BLOCK_SIZE - 12) {
    throw damagedIndex(place, 'the index root does not begin with "." and ".."');
  }
  if (root.readUInt32LE(ROOT_INFO) !== 0)
    throw damagedIndex(place, 'the index header does not begin with 0');
  const version = hashVersion(root);
  // The three above these say "unsigned" too; that stands in the superblock, not on the media.
  if (version > DxHash.Tea) throw damagedIndex(place, `hash version ${version} is not known`);
  const infoLength = root.readUInt8(ROOT_INFO_LENGTH);
  if (infoLength !== ROOT_INFO_BYTES)
    throw damagedIndex(place, `the index header has ${infoLength} bytes`);
  const levels = indexLevels(root);
  if (levels > INDEX_LEVELS_MAX)
    throw damagedIndex(place, `the index has ${levels} levels below its root`);
}

function checkTableHeader(block: Buffer, start: number, place: DirectoryBlockPlace): void {
  const limit = block.readUInt16LE(start);
  const count = block.readUInt16LE(start + 2);
  if (limit !== capacity(start)) {
    throw damagedIndex(place, `the index limit is ${limit}, not ${capacity(start)}`);
  }
  if (count < 1 || count > limit)
    throw damagedIndex(place, `the index has ${count} of ${limit} entries`);
}

function checkPairs(table: IndexTable, { count: blocks, place }: IndexBlockCheck): void {
  const seen = new Set([0, place.logical]);
  let lastHash = 0;
  for (let i = 0; i < table.count; i++) {
    const hash = table.hash(i);
    const child = table.child(i);
    if (hash < lastHash) throw damagedIndex(place, `the index is not sorted at entry ${i}`);
    if (child >= blocks || seen.has(child)) {
      throw damagedIndex(
        place,
        `index entry ${i} points at block ${child}, which is past the end or taken`,
      );
    }
    lastHash = hash;
    seen.add(child);
  }
}

/** Pairs that fit: one less than there is room, for the checksum stands behind the table. */
function capacity(start: number): number {
  return (BLOCK_SIZE - start) / PAIR_BYTES - 1;
}

/** Covers the used part of the block, the reserved word of the tail, and four zero bytes. */
function indexChecksum(
  block: Buffer,
  seed: number,
  start: number,
): { readonly at: number; readonly computed: number } {
  const tail = start + PAIR_BYTES * block.readUInt16LE(start);
  const used = start + PAIR_BYTES * block.readUInt16LE(start + 2);
  assert(used <= tail && tail + PAIR_BYTES <= BLOCK_SIZE, 'an index table fits its block');
  const overTable = crc32c(seed, block.subarray(0, used));
  const overReserved = crc32c(overTable, block.subarray(tail, tail + 4));
  return { at: tail + 4, computed: crc32c(overReserved, ZERO_WORD) };
}

function damagedIndex(place: DirectoryBlockPlace, what: string): DaxdError {
  return damaged(`${placeName(place)}: ${what}`);
}
