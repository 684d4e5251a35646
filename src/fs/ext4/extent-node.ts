import { crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { checksumMismatch, damaged } from '../damage.js';
import type { BlockSpan, Extent } from './extent.js';
import {
  EXTENT_BLOCK_MAX,
  EXTENT_DEPTH_MAX,
  EXTENT_ENTRY_SIZE,
  EXTENT_MAGIC,
  EXTENT_ROOT_MAX,
  EXTENT_UNWRITTEN_MAX,
  EXTENT_WRITTEN_MAX,
  I_BLOCK_SIZE,
} from './layout.js';

/**
 * Nodes of an extent tree: a header of 12 bytes, then entries of 12 bytes.
 *
 *     header  0 u16 magic  2 u16 entries  4 u16 max  6 u16 depth  8 u32 generation
 *     index   0 u32 logical  4 u32 child lo  8 u16 child hi
 *     leaf    0 u32 logical  4 u16 length  6 u16 physical hi  8 u32 physical lo
 *
 * @kernel struct ext4_extent_header, ext4_extent_idx, ext4_extent (fs/ext4/ext4_extents.h)
 */

/** A child of an index node. */
export interface IndexEntry {
  readonly logical: number;
  readonly block: number;
}

/** Where a node stands in its tree: what its header and entries must agree with. */
export interface NodePlace {
  readonly inode: number;
  /** Undefined for the root, which says itself how deep the tree is. */
  readonly depth: number | undefined;
  /** Logical blocks it may map; the first entry begins where the span does, but for the root. */
  readonly span: BlockSpan;
}

/**
 * Checks the header of a node and gives its depth.
 *
 * @throws DaxdError EUCLEAN naming the inode
 * @kernel __ext4_ext_check (fs/ext4/extents.c)
 */
export function checkHeader(node: Buffer, place: NodePlace): number {
  const isRoot = node.length === I_BLOCK_SIZE;
  const capacity = isRoot ? EXTENT_ROOT_MAX : EXTENT_BLOCK_MAX;
  const entries = node.readUInt16LE(2);
  const max = node.readUInt16LE(4);
  const depth = node.readUInt16LE(6);
  if (node.readUInt16LE(0) !== EXTENT_MAGIC) throw damagedTree(place, 'there is no header');
  if (max === 0 || max > capacity) throw damagedTree(place, `a node has room for ${max} entries`);
  if (entries > max) throw damagedTree(place, `a node has ${entries} entries of ${max}`);
  if (depth > EXTENT_DEPTH_MAX) throw damagedTree(place, `its depth is ${depth}`);
  if (place.depth !== undefined && depth !== place.depth) {
    throw damagedTree(place, `a node of depth ${depth} where ${place.depth} belongs`);
  }
  if (entries === 0 && (depth > 0 || !isRoot)) throw damagedTree(place, 'a node has no entries');
  return depth;
}

/** How many entries a node has; its header is right. */
export function entryCount(node: Buffer): number {
  return node.readUInt16LE(2);
}

/** First logical block of entry `i`, of a leaf as of an index node. */
export function entryLogical(node: Buffer, i: number): number {
  return node.readUInt32LE(EXTENT_ENTRY_SIZE * (i + 1));
}

/** The tree block that entry `i` of an index node points at. */
export function entryChild(node: Buffer, i: number): number {
  const at = EXTENT_ENTRY_SIZE * (i + 1);
  return node.readUInt32LE(at + 4) + node.readUInt16LE(at + 8) * 2 ** 32;
}

/** Entry `i` of a leaf. */
export function entryExtent(node: Buffer, i: number): Extent {
  const at = EXTENT_ENTRY_SIZE * (i + 1);
  const stored = node.readUInt16LE(at + 4);
  const unwritten = stored > EXTENT_WRITTEN_MAX;
  return {
    logical: node.readUInt32LE(at),
    physical: node.readUInt32LE(at + 8) + node.readUInt16LE(at + 6) * 2 ** 32,
    length: unwritten ? stored - EXTENT_WRITTEN_MAX : stored,
    unwritten,
  };
}

/** The last entry that begins at or before a logical block, or -1. @hot Once a node of a lookup. */
export function lastEntryFrom(node: Buffer, logical: number): number {
  let low = 0;
  let high = entryCount(node);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entryLogical(node, middle) <= logical) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Logical blocks that the child at entry `i` maps. */
export function childSpan(node: Buffer, i: number, { to }: BlockSpan): BlockSpan {
  return {
    from: entryLogical(node, i),
    to: i + 1 < entryCount(node) ? entryLogical(node, i + 1) : to,
  };
}

/** @throws DaxdError EUCLEAN for the order of an index node whose header is right */
export function checkIndex(node: Buffer, place: NodePlace): void {
  const count = entryCount(node);
  for (let i = 0; i < count; i++) {
    const logical = entryLogical(node, i);
    checkStart(logical, i, place);
    const to = i + 1 < count ? entryLogical(node, i + 1) : place.span.to;
    if (to <= logical) throw damagedTree(place, `an index entry at ${logical} is out of order`);
  }
}

/** @throws DaxdError EUCLEAN for order, overlap or length in a leaf whose header is right */
export function checkLeaf(node: Buffer, place: NodePlace): void {
  let end = place.span.from;
  const count = entryCount(node);
  for (let i = 0; i < count; i++) {
    const at = EXTENT_ENTRY_SIZE * (i + 1);
    const logical = node.readUInt32LE(at);
    const stored = node.readUInt16LE(at + 4);
    const length = stored > EXTENT_WRITTEN_MAX ? stored - EXTENT_WRITTEN_MAX : stored;
    checkStart(logical, i, place);
    if (length === 0) throw damagedTree(place, `an extent at ${logical} is empty`);
    if (logical < end) throw damagedTree(place, `extents overlap at ${logical}`);
    end = logical + length;
    if (end > place.span.to) throw damagedTree(place, `an extent at ${logical} is too long`);
  }
}

/**
 * Checks that a node whose entries were found right in one place of a tree fits another: only its
 * ends are looked at.
 *
 * @throws DaxdError EUCLEAN naming the inode
 */
export function checkPlace(node: Buffer, place: NodePlace & { readonly depth: number }): void {
  const last = entryCount(node) - 1;
  checkStart(entryLogical(node, 0), 0, place);
  const logical = entryLogical(node, last);
  const end = place.depth > 0 ? logical + 1 : logical + entryExtent(node, last).length;
  if (end > place.span.to)
    throw damagedTree(place, `an entry at ${logical} reaches past what its index says`);
}

/** The children of an index node that was found right. */
export function indexEntries(node: Buffer): IndexEntry[] {
  const entries: IndexEntry[] = [];
  for (let i = 0; i < entryCount(node); i++) {
    entries.push({ logical: entryLogical(node, i), block: entryChild(node, i) });
  }
  return entries;
}

/** The extents of a leaf that was found right. */
export function leafExtents(node: Buffer): Extent[] {
  const extents: Extent[] = [];
  for (let i = 0; i < entryCount(node); i++) extents.push(entryExtent(node, i));
  return extents;
}

/** The longest extent that one entry can say. */
export function extentLengthMax(unwritten: boolean): number {
  return unwritten ? EXTENT_UNWRITTEN_MAX : EXTENT_WRITTEN_MAX;
}

/** Cuts extents to what one entry can say. */
export function leafPieces(extents: readonly Extent[]): Extent[] {
  return extents.flatMap((extent) => {
    const max = extentLengthMax(extent.unwritten);
    const pieces: Extent[] = [];
    for (let done = 0; done < extent.length; done += max) {
      pieces.push({
        logical: extent.logical + done,
        physical: extent.physical + done,
        length: Math.min(max, extent.length - done),
        unwritten: extent.unwritten,
      });
    }
    return pieces;
  });
}

/** Writes a leaf; the checksum of a block comes with {@link sealNode}. */
export function encodeLeaf(node: Buffer, pieces: readonly Extent[]): void {
  encodeHeader(node, pieces.length, 0);
  pieces.forEach(({ logical, physical, length, unwritten }, i) => {
    const at = EXTENT_ENTRY_SIZE * (i + 1);
    node.writeUInt32LE(logical, at);
    node.writeUInt16LE(unwritten ? length + EXTENT_WRITTEN_MAX : length, at + 4);
    node.writeUInt16LE(Math.floor(physical / 2 ** 32), at + 6);
    node.writeUInt32LE(physical % 2 ** 32, at + 8);
  });
}

/** Writes an index node of a depth from 1 on. */
export function encodeIndex(node: Buffer, children: readonly IndexEntry[], depth: number): void {
  encodeHeader(node, children.length, depth);
  children.forEach(({ logical, block }, i) => {
    const at = EXTENT_ENTRY_SIZE * (i + 1);
    node.writeUInt32LE(logical, at);
    node.writeUInt32LE(block % 2 ** 32, at + 4);
    node.writeUInt16LE(Math.floor(block / 2 ** 32), at + 8);
  });
}

/** Writes the checksum of a tree block. */
export function sealNode(node: Buffer, seed: number): void {
  node.writeUInt32LE(nodeChecksum(node, seed), checksumOffset(node));
}

/** @throws DaxdError EBADMSG when the checksum of a tree block is wrong; its header is right */
export function verifyNode(node: Buffer, seed: number, inode: number): void {
  if (node.readUInt32LE(checksumOffset(node)) === nodeChecksum(node, seed)) return;
  throw checksumMismatch(`extent tree of inode ${inode}`);
}

/** @throws DaxdError EUCLEAN naming the inode */
export function damagedTree({ inode }: { readonly inode: number }, what: string): DaxdError {
  return damaged(`extent tree of inode ${inode}: ${what}`);
}

function checkStart(logical: number, index: number, place: NodePlace): void {
  const isRoot = place.depth === undefined;
  if (isRoot || index > 0 || logical === place.span.from) return;
  throw damagedTree(place, `a node begins at ${logical}, its index says ${place.span.from}`);
}

function encodeHeader(node: Buffer, entries: number, depth: number): void {
  const max = node.length === I_BLOCK_SIZE ? EXTENT_ROOT_MAX : EXTENT_BLOCK_MAX;
  node.fill(0);
  node.writeUInt16LE(EXTENT_MAGIC, 0);
  node.writeUInt16LE(entries, 2);
  node.writeUInt16LE(max, 4);
  node.writeUInt16LE(depth, 6);
}

/** Behind the room for entries, used or not. */
function checksumOffset(node: Buffer): number {
  return EXTENT_ENTRY_SIZE * (node.readUInt16LE(4) + 1);
}

function nodeChecksum(node: Buffer, seed: number): number {
  return crc32c(seed, node.subarray(0, checksumOffset(node)));
}
