import { BLOCK_SIZE } from './layout.js';

/** Blocks that share an allocation: one block that is kept keeps so many in memory. */
const SLAB_BLOCKS = 4;
/** Blocks kept for reuse, at most: 1 MiB. */
const SPARES_MAX = 256;

let slab = Buffer.alloc(0);
let used = 0;
const spares: Buffer[] = [];

/**
 * A block of memory with anything in it: one that was given back, or a new one. New ones are
 * allocated several at a time: an allocation of its own costs more than the copy that is made
 * there.
 *
 * @hot Once for each block that a transaction changes.
 */
export function newBlock(): Buffer {
  const spare = spares.pop();
  if (spare !== undefined) return spare;
  if (used === slab.length) {
    slab = Buffer.allocUnsafeSlow(SLAB_BLOCKS * BLOCK_SIZE);
    used = 0;
  }
  const block = slab.subarray(used, used + BLOCK_SIZE);
  used += BLOCK_SIZE;
  return block;
}

/**
 * A private copy of a block.
 *
 * @hot Once for each block that a transaction changes.
 */
export function copyBlock(source: Buffer): Buffer {
  const copy = newBlock();
  copy.set(source);
  return copy;
}

/**
 * Gives blocks back: nobody reads them any more.
 *
 * @hot Once a commit.
 */
export function reuseBlocks(blocks: readonly Buffer[]): void {
  for (let i = 0; i < blocks.length && spares.length < SPARES_MAX; i++) {
    const block = blocks[i];
    if (block !== undefined) spares.push(block);
  }
}
