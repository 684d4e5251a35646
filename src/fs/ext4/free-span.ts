import { freeBlocks, METADATA } from './allocator.js';
import type { FreeLeave } from './allocator.js';
import { freeMapped } from './block-map-free.js';
import { spliceExtents } from './extent-splice.js';
import { lastExtents, treeOf } from './extent-tree.js';
import { clipExtents } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Blocks of a transaction left to what changes beside what is freed or moved: tree, inode, orphan
 * list; or one more move.
 */
const OTHER_BLOCKS = 48;
/** Bitmaps that freeing one stretch may touch, at most. */
const GROUPS_AT_ONCE = 4;
/** Metadata blocks freed at once: each is revoked, and so many revokes fill a block of the log. */
const REVOKES_PER_BLOCK = 500;

/** What of a file is freed. */
export interface FreeRequest {
  readonly inode: Inode;
  readonly span: BlockSpan;
  /** Blocks of the transaction to leave to the caller; 0 by default. */
  readonly spare?: number;
}

/** What one transaction freed of a span. */
export interface FreedPiece {
  readonly blocks: number;
  /** Whether the span is empty now; if not, the rest is for further transactions. */
  readonly isLast: boolean;
  /** Blocks that went into the quarantine; none by default. */
  readonly quarantined?: number;
}

/**
 * Takes blocks of a span from a file and frees them, from the end on, as many as fit into one
 * transaction: at least some, if there are any. The caller stores the inode.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 * @kernel ext4_ext_remove_space (fs/ext4/extents.c)
 */
export function freeSpan(
  txn: Transaction,
  volume: Volume,
  { inode, span, spare = 0 }: FreeRequest,
  leave: FreeLeave,
): FreedPiece {
  if (inode.hasBlockMap) {
    const isFull = (): boolean => isNearlyFull(txn, volume, spare);
    return freeMapped(txn, volume, { inode, span, isFull }, leave);
  }
  const tree = treeOf(txn, volume, inode);
  let blocks = 0;
  for (let { to } = span; ;) {
    const rest = { from: span.from, to };
    const max =
      leave === METADATA ? REVOKES_PER_BLOCK : GROUPS_AT_ONCE * volume.superblock.blocksPerGroup;
    const pieces = inPieces(clipExtents(lastExtents(tree, rest), rest), max);
    if (pieces.length === 0) return { blocks, isLast: true };

    let from = to;
    let isFull = false;
    for (const { logical, physical, length } of pieces) {
      isFull = blocks > 0 && isNearlyFull(txn, volume, spare);
      if (isFull) break;
      freeBlocks(txn, volume, { start: physical, count: length }, leave);
      from = logical;
      blocks += length;
    }
    if (from < to) spliceExtents(txn, volume, { inode, span: { from, to } }, []);
    if (isFull) return { blocks, isLast: false };
    to = from;
  }
}

/**
 * Runs a body that frees a span in as many transactions as it takes, and gives how many
 * blocks they freed, and how many went into the quarantine.
 */
export async function inTransactions(
  volume: Volume,
  body: (txn: Transaction) => FreedPiece,
): Promise<{ readonly blocks: number; readonly quarantined: number }> {
  let blocks = 0;
  let quarantined = 0;
  for (;;) {
    const piece = await volume.transact(body);
    blocks += piece.blocks;
    quarantined += piece.quarantined ?? 0;
    if (piece.isLast) return { blocks, quarantined };
  }
}

/**
 * Whether a transaction has no room for more of a work that goes on in the next one, and for
 * `spare` blocks of the caller's. One without a change always has.
 */
export function isNearlyFull(
  { changes, revoked }: Transaction,
  volume: Volume,
  spare = 0,
): boolean {
  const logged = changes.size + Math.ceil(revoked.size / REVOKES_PER_BLOCK);
  return logged > Math.max(0, volume.transactionBlocksMax - OTHER_BLOCKS - spare);
}

/** The last extent first, cut into pieces of some length. */
function inPieces(
  extents: readonly Extent[],
  max: number,
): { logical: number; physical: number; length: number }[] {
  return extents.toReversed().flatMap(({ logical, physical, length }) => {
    const pieces = [];
    for (let left = length; left > 0; left -= max) {
      const from = Math.max(0, left - max);
      pieces.push({ logical: logical + from, physical: physical + from, length: left - from });
    }
    return pieces;
  });
}
