import { allocateBlocks, freeBlocks, METADATA, reserveBlocks } from './allocator.js';
import type { Reservation } from './allocator.js';
import { BlockKind, blockRole } from './buffer-cache.js';
import { sealNode } from './extent-node.js';
import { goalOf } from './extent-tree.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Tree blocks that are kept for an edit before the data that it names is stored: it cannot
 * run out of space any more.
 */
export class TreeReserve {
  readonly #blocks: readonly Reservation[];
  #txn: Transaction | undefined;
  #taken = 0;

  /** @throws DaxdError ENOSPC, and then none is reserved */
  constructor(volume: Volume, goal: number, count: number) {
    const blocks: Reservation[] = [];
    try {
      for (let i = 0; i < count; i++) blocks.push(reserveBlocks(volume, { goal, count: 1 }));
    } catch (error) {
      for (const block of blocks) block.release();
      throw error;
    }
    this.#blocks = blocks;
  }

  /** Takes one of them in a transaction, of which there may be another try. */
  take(txn: Transaction): number | undefined {
    if (this.#txn !== txn) this.#taken = 0;
    this.#txn = txn;
    const reservation = this.#blocks[this.#taken];
    if (reservation === undefined) return undefined;
    this.#taken++;
    reservation.claim(txn);
    return reservation.runs[0]?.start;
  }

  /** Gives back what no transaction took. */
  release(): void {
    for (const block of this.#blocks) block.release();
  }
}

/** What {@link TreeBlocks} is made of. */
export interface TreeBlocksOptions {
  readonly txn: Transaction;
  readonly volume: Volume;
  readonly inode: Inode;
  readonly reserve: TreeReserve | undefined;
  /** A block of the tree, for new ones to lie near to. */
  readonly near: number | undefined;
}

/** Writes, takes and frees the blocks of one inode's tree. */
export class TreeBlocks {
  /** Blocks taken less blocks freed. */
  delta = 0;
  readonly #options: TreeBlocksOptions;
  #goal: number;

  constructor(options: TreeBlocksOptions) {
    this.#options = options;
    this.#goal = options.near ?? goalOf(options.volume, options.inode);
  }

  /** Has `encode` fill a tree block, a new one without `old`, seals it, and gives its number. */
  write(old: number | undefined, encode: (node: Buffer) => void): number {
    const { txn, inode } = this.#options;
    encode(scratch);
    sealNode(scratch, inode.checksumSeed);
    if (old !== undefined) {
      // A node that stays as it is need not be written.
      if (!txn.block(old).equals(scratch)) scratch.copy(txn.modify(old));
      return old;
    }
    const block = this.#take();
    scratch.copy(txn.fresh(block));
    txn.markVerified(block, blockRole(BlockKind.ExtentNode, inode.number));
    return block;
  }

  free(block: number): void {
    const { txn, volume } = this.#options;
    freeBlocks(txn, volume, { start: block, count: 1 }, METADATA);
    this.delta--;
  }

  #take(): number {
    const { txn, volume, reserve } = this.#options;
    const goal = this.#goal;
    this.#goal = reserve?.take(txn) ?? allocateBlocks(txn, volume, { goal, count: 1 }).start;
    this.delta++;
    return this.#goal;
  }
}

/** A node while it is made up; one at a time. */
const scratch = Buffer.alloc(BLOCK_SIZE);
