import type { BlockSpan } from './extent.js';
import { BLOCK_SIZE } from './layout.js';

/** A stretch of a file, in bytes, half open; `to` may be Infinity. */
export interface ByteSpan {
  readonly from: number;
  readonly to: number;
}

/** The blocks that hold a byte of a span; of an empty one, none or the block that it lies in. */
export function blocksAround({ from, to }: ByteSpan): BlockSpan {
  return { from: Math.floor(from / BLOCK_SIZE), to: Math.ceil(to / BLOCK_SIZE) };
}

/** The blocks that lie wholly within a span; `to` is not above `from` when there are none. */
export function wholeBlocks({ from, to }: ByteSpan): BlockSpan {
  return { from: Math.ceil(from / BLOCK_SIZE), to: Math.floor(to / BLOCK_SIZE) };
}
