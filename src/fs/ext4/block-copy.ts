import { BLOCK_SIZE } from './layout.js';

/** Blocks that share an allocation: one block that is kept keeps so many in memory. */
const SLAB_BLOCKS = 4;

let slab = Buffer.alloc(0);
let used = 0;

/**
 * A block of memory with anything in it. Allocated several at a time: an allocation of its own
 * costs more than the copy that is made there.
 *
 * @hot Once for each block that a transaction changes.
 */
export function newBlock(): Buffer {
  if (used === slab.length) {
    slab = Buffer.allocUnsafeSlow(SLAB_BLOCKS * BLOCK_SIZE);
    used = 0;
  }
  const block = slab.subarray(used, used + BLOCK_SIZE);
  used += BLOCK_SIZE;
  return block;
}

/** A private copy of a block. */
export function copyBlock(source: Buffer): Buffer {
  const copy = newBlock();
  copy.set(source);
  return copy;
}
