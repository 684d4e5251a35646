import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { PAGE_SIZE } from '../../lib/units.js';
import { crc32c } from './checksum.js';
import {
  checkEntries,
  clearDirectoryBlock,
  ENTRIES_END,
  placeName,
  putTail,
  sealDirectoryBlock,
} from './directory-block.js';
import type { DirectoryBlockPlace } from './directory-block.js';

/**
 * The hash index of a directory. Its leaves are ordinary directory blocks, so names can be
 * read and removed without it; only an insert has to put a name where its hash belongs. That
 * is not done: an insert turns the directory back into a linear one first.
 *
 * Root (block 0): "." and a ".." whose record covers the rest, in which the index hides.
 * Node: one unused entry that covers the block. Neither has the tail of a leaf.
 *
 * @kernel struct dx_root, struct dx_node, struct dx_tail (fs/ext4/namei.c)
 */

const ROOT_INFO = 0x18;
const ROOT_HASH_VERSION = 0x1c;
const ROOT_INFO_LENGTH = 0x1d;
const ROOT_LEVELS = 0x1e;
const DOTDOT_REC_LEN = 12 + 4;
const ROOT_TABLE = 0x20;
const NODE_TABLE = 8;
const TABLE_ENTRY_BYTES = 8;
const ROOT_INFO_BYTES = 8;
/** Legacy, half MD4 and tea, each signed and unsigned. @kernel DX_HASH_* (fs/ext4/ext4.h) */
const HASH_VERSION_MAX = 5;
/** Levels below the root without the largedir feature, which the feature gate refuses. */
const LEVELS_MAX = 1;
const BLOCK_MASK = 0x0fffffff;

/** The blocks of one directory, as its index sees them. */
export interface IndexedBlocks {
  /** Blocks in the directory. */
  readonly count: number;
  /** Checksum seed of the directory's inode. */
  readonly seed: number;
  read(logical: number): Buffer;
  place(logical: number): DirectoryBlockPlace;
}

/**
 * Walks and checks the whole index.
 *
 * @returns the logical blocks that hold index and not names; always contains 0
 * @throws DaxdError EBADMSG for a checksum, EUCLEAN for a table that is not sorted, points
 *   past the directory or twice at one block
 */
export function readIndexBlocks(blocks: IndexedBlocks): Set<number> {
  const root = blocks.read(0);
  const place = blocks.place(0);
  checkEntries(root, PAGE_SIZE, place);
  checkRootInfo(root, place);

  const seen = new Set([0]);
  const children = readTable(blocks, 0, ROOT_TABLE, seen);
  if (root.readUInt8(ROOT_LEVELS) === 0) return new Set([0]);

  for (const logical of children) {
    const node = blocks.read(logical);
    const isNode = node.readUInt32LE(0) === 0 && node.readUInt16LE(4) === PAGE_SIZE;
    if (!isNode) fail(blocks.place(logical), 'an index node has entries in use');
    readTable(blocks, logical, NODE_TABLE, seen);
  }
  return new Set([0, ...children]);
}

/** Seals an index block after a change of the entries in it, such as "..". */
export function sealIndexBlock(block: Buffer, seed: number, logical: number): void {
  const table = tableOffset(logical);
  const { at, computed } = indexChecksum(block, seed, table);
  block.writeUInt32LE(computed, at);
}

/** Makes a checked index block a leaf: the root keeps "." and "..", a node becomes empty. */
export function clearIndexBlock(block: Buffer, seed: number, logical: number): void {
  if (logical === 0) {
    block.writeUInt16LE(ENTRIES_END - 12, DOTDOT_REC_LEN);
    block.fill(0, ROOT_INFO);
    putTail(block);
  } else {
    clearDirectoryBlock(block);
  }
  sealDirectoryBlock(block, seed);
}

function checkRootInfo(root: Buffer, place: DirectoryBlockPlace): void {
  if (root.readUInt16LE(DOTDOT_REC_LEN) !== PAGE_SIZE - 12) {
    fail(place, 'the index root does not begin with "." and ".."');
  }
  const hashVersion = root.readUInt8(ROOT_HASH_VERSION);
  if (hashVersion > HASH_VERSION_MAX) fail(place, `hash version ${hashVersion} is not known`);
  const infoLength = root.readUInt8(ROOT_INFO_LENGTH);
  if (infoLength !== ROOT_INFO_BYTES) fail(place, `the index header has ${infoLength} bytes`);
  const levels = root.readUInt8(ROOT_LEVELS);
  if (levels > LEVELS_MAX) fail(place, `the index has ${levels} levels below its root`);
}

/** Reads one table of (hash, block) pairs and adds its blocks to `seen`, where none may be yet. */
function readTable(
  blocks: IndexedBlocks,
  logical: number,
  table: number,
  seen: Set<number>,
): number[] {
  const block = blocks.read(logical);
  const place = blocks.place(logical);
  checkTableHeader(block, table, place);
  const { at, computed } = indexChecksum(block, blocks.seed, table);
  if (block.readUInt32LE(at) !== computed) {
    throw new DaxdError('EBADMSG', `${placeName(place)}: the index checksum is wrong; run e2fsck`);
  }

  const children: number[] = [];
  let lastHash = 0;
  for (let i = 0; i < block.readUInt16LE(table + 2); i++) {
    const entry = table + TABLE_ENTRY_BYTES * i;
    // The first entry has no hash: limit and count stand in its place.
    const hash = i === 0 ? 0 : block.readUInt32LE(entry);
    const child = block.readUInt32LE(entry + 4) & BLOCK_MASK;
    if (hash < lastHash) fail(place, `the index is not sorted at entry ${i}`);
    if (child >= blocks.count || seen.has(child)) {
      fail(place, `index entry ${i} points at block ${child}, which is past the end or taken`);
    }
    lastHash = hash;
    seen.add(child);
    children.push(child);
  }
  return children;
}

function checkTableHeader(block: Buffer, table: number, place: DirectoryBlockPlace): void {
  // One entry less than fits: the checksum stands behind the table.
  const capacity = (PAGE_SIZE - table) / TABLE_ENTRY_BYTES - 1;
  const limit = block.readUInt16LE(table);
  const count = block.readUInt16LE(table + 2);
  if (limit !== capacity) fail(place, `the index limit is ${limit}, not ${capacity}`);
  if (count < 1 || count > limit) fail(place, `the index has ${count} of ${limit} entries`);
}

/** Covers the used part of the block, the reserved word of the tail, and four zero bytes. */
function indexChecksum(
  block: Buffer,
  seed: number,
  table: number,
): { readonly at: number; readonly computed: number } {
  const tail = table + TABLE_ENTRY_BYTES * block.readUInt16LE(table);
  const used = table + TABLE_ENTRY_BYTES * block.readUInt16LE(table + 2);
  assert(used <= tail && tail + TABLE_ENTRY_BYTES <= PAGE_SIZE, 'an index table fits its block');
  const overTable = crc32c(seed, block.subarray(0, used));
  const overReserved = crc32c(overTable, block.subarray(tail, tail + 4));
  return { at: tail + 4, computed: crc32c(overReserved, Buffer.alloc(4)) };
}

function tableOffset(logical: number): number {
  return logical === 0 ? ROOT_TABLE : NODE_TABLE;
}

function fail(place: DirectoryBlockPlace, what: string): never {
  throw new DaxdError('EUCLEAN', `${placeName(place)}: ${what}; run e2fsck -fD`);
}
