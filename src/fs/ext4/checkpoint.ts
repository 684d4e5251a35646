import { assert } from '../../lib/assert.js';
import { isAligned } from '../../lib/units.js';
import type { BackingRange } from '../../media/backing-range.js';
import { BLOCK_SIZE, SUPERBLOCK_BLOCK } from './layout.js';

/** A stretch of the partition that was stored to, in bytes. */
export interface Store {
  readonly offset: number;
  readonly length: number;
}

/** Blocks to be put in their place. */
export interface ChangedBlocks {
  readonly blocks: ReadonlyMap<number, Buffer>;
  /** Whether what stands there now says nothing. */
  isFresh(blockNumber: number): boolean;
}

/** Bytes that reach persistent memory whole or not at all where a store covers them whole. */
const LINE_SIZE = 64;
const LINE_WORDS = LINE_SIZE / 4;

/**
 * Stores blocks to their places on the map, in ascending order, and answers what was stored.
 * The superblock's is left out: what becomes of it is up to the caller.
 * Only lines of 64 bytes that differ are stored, each run in one copy: a group descriptor is
 * such a line, and the kernel refuses a mount over a torn one.
 */
export function storeInPlace(range: BackingRange, changes: ChangedBlocks): Store[] {
  const stores: Store[] = [];
  for (const blockNumber of [...changes.blocks.keys()].toSorted((a, b) => a - b)) {
    const changed = changes.blocks.get(blockNumber);
    if (changed === undefined || blockNumber === SUPERBLOCK_BLOCK) continue;
    const offset = blockNumber * BLOCK_SIZE;
    if (changes.isFresh(blockNumber)) {
      range.write(offset, changed);
      stores.push({ offset, length: BLOCK_SIZE });
    } else {
      storeChangedLines(range, blockNumber, changed, stores);
    }
  }
  return stores;
}

/** Makes stores durable: those in one page or in neighbouring pages together. */
export async function persistStores(range: BackingRange, stores: readonly Store[]): Promise<void> {
  const runs: { offset: number; end: number }[] = [];
  for (const { offset, length } of stores) {
    const last = runs.at(-1);
    if (last !== undefined && offset - last.end < BLOCK_SIZE) last.end = offset + length;
    else runs.push({ offset, end: offset + length });
  }
  await Promise.all(runs.map(({ offset, end }) => range.persist(offset, end - offset)));
}

function storeChangedLines(
  range: BackingRange,
  blockNumber: number,
  changed: Buffer,
  stores: Store[],
): void {
  const blockOffset = blockNumber * BLOCK_SIZE;
  // Already a look at a hole through the map would fill it.
  range.allocate(blockOffset, BLOCK_SIZE);
  const before = wordsOf(blockAt(range, blockOffset));
  const after = wordsOf(changed);
  for (let line = 0; line < BLOCK_SIZE;) {
    const end = endOfChange(before, after, line);
    if (end > line) {
      const offset = blockOffset + line;
      range.write(offset, changed.subarray(line, end));
      stores.push({ offset, length: end - line });
    }
    line = end + LINE_SIZE;
  }
}

/** Where a partition does not start on a page, a block may lie across two windows of the map. */
function blockAt(range: BackingRange, offset: number): Buffer {
  if (isAligned(range.start, BLOCK_SIZE)) return range.view(offset, BLOCK_SIZE);
  const block = Buffer.alloc(BLOCK_SIZE);
  range.read(offset, block);
  return block;
}

/** A block as words, where it lies: memory blocks and the backing's are aligned. */
function wordsOf(block: Buffer): Int32Array {
  assert(block.byteOffset % 4 === 0, 'a block begins at a word');
  return new Int32Array(block.buffer, block.byteOffset, BLOCK_SIZE / 4);
}

/** Where the run of differing lines that starts at `from` ends; `from` when that line is the same. */
function endOfChange(before: Int32Array, after: Int32Array, from: number): number {
  let end = from;
  while (end < BLOCK_SIZE && isLineChanged(before, after, end)) end += LINE_SIZE;
  return end;
}

/** @hot 64 times for each block of a commit. */
function isLineChanged(before: Int32Array, after: Int32Array, line: number): boolean {
  const first = line / 4;
  for (let i = first; i < first + LINE_WORDS; i++) {
    if (before[i] !== after[i]) return true;
  }
  return false;
}
