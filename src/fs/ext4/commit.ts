import type { BackingRange } from '../../media/backing-range.js';
import { BLOCK_SIZE } from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';

/** A stretch of the partition that was stored to, in bytes. */
export interface Store {
  readonly offset: number;
  readonly length: number;
}

/** Bytes that reach persistent memory whole or not at all where a store covers them whole. */
const LINE_SIZE = 64;

/** Where a commit stores to: the blocks as they are, and the range to change. */
export interface CommitTarget extends BlockSource {
  readonly range: BackingRange;
}

/**
 * Stores the changed blocks of a sealed transaction to the map, in ascending order, and
 * answers what was stored. Only lines of 64 bytes that differ are stored, each run in one
 * copy: a group descriptor is such a line, and the kernel refuses a mount over a torn one.
 */
export function commitStores(target: CommitTarget, txn: Transaction): Store[] {
  const stores: Store[] = [];
  const blocks = [...txn.changes].toSorted(([a], [b]) => a - b);
  for (const [blockNumber, changed] of blocks) {
    const offset = blockNumber * BLOCK_SIZE;
    if (txn.isFresh(blockNumber)) {
      target.range.write(offset, changed);
      stores.push({ offset, length: BLOCK_SIZE });
    } else {
      storeChangedLines(target, blockNumber, changed, stores);
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
  target: CommitTarget,
  blockNumber: number,
  changed: Buffer,
  stores: Store[],
): void {
  const old = target.block(blockNumber);
  for (let line = 0; line < BLOCK_SIZE;) {
    const end = endOfChange(old, changed, line);
    if (end > line) {
      const offset = blockNumber * BLOCK_SIZE + line;
      target.range.write(offset, changed.subarray(line, end));
      stores.push({ offset, length: end - line });
    }
    line = end + LINE_SIZE;
  }
}

/** Where the run of differing lines that starts at `from` ends; `from` when that line is the same. */
function endOfChange(old: Buffer, changed: Buffer, from: number): number {
  let end = from;
  while (
    end < BLOCK_SIZE &&
    changed.compare(old, end, end + LINE_SIZE, end, end + LINE_SIZE) !== 0
  ) {
    end += LINE_SIZE;
  }
  return end;
}
