import { assertAvailable, reserveBlocks } from './allocator.js';
import type { Reservation } from './allocator.js';
import { spliceExtents, treeBlocksFor } from './extent-splice.js';
import { damagedTree } from './extent-node.js';
import { goalOf, lastExtents, mapExtents } from './extent-tree.js';
import {
  clipExtents,
  convertExtents,
  countBlocks,
  holesOf,
  joinExtents,
  layRuns,
} from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import type { BlockRun } from './system-zone.js';
import type { Transaction } from './transaction.js';
import { TreeReserve } from './tree-blocks.js';
import type { Volume } from './volume.js';

/** Extents that one fill looks at, and as many again that it adds. */
const EXTENTS_MAX = 1024;
/** Share of a transaction's blocks that bitmaps may take, each with its descriptors' block. */
const BITMAPS_SHARE = 1 / 8;

/** What becomes of a span when it is filled. */
export interface Filled {
  /** Holes and unwritten blocks become written ones. */
  readonly written?: boolean;
  /** Blocks in here become unwritten, as far as the span goes. */
  readonly unwrite?: BlockSpan | undefined;
}

/**
 * Blocks for the holes in a span of a file, reserved and not yet the file's, and blocks for
 * its tree to name them. What the file has there was read when they were reserved; the file's
 * gate keeps it so until the commit, which checks it.
 */
export class HoleFill {
  /** What one transaction can fill of the span that was asked for: its first part, or all. */
  readonly span: BlockSpan;
  /** What the file has in the span, cut to it. */
  readonly mapped: readonly Extent[];
  /** What goes into the holes, written or not as the commit decides; ascending. */
  readonly laid: readonly Extent[];
  /** The parts whose blocks hold something else than what the file reads as: holes and unwritten. */
  readonly stale: readonly Extent[];
  readonly #volume: Volume;
  readonly #reservations: Reservation[] = [];
  readonly #tree: TreeReserve | undefined;
  /** What the file has in the span once it is filled; undefined where that is what it has. */
  readonly #filled: readonly Extent[] | undefined;

  /**
   * Reserves blocks for every hole of a finite span, near the blocks before it.
   *
   * @throws DaxdError ENOSPC, and then none is reserved; EBADMSG, EUCLEAN
   */
  constructor(volume: Volume, inode: Inode, span: BlockSpan, how: Filled) {
    this.#volume = volume;
    // One block more, so that the fill can go on where the file's extent before it ends.
    const around = { from: Math.max(0, span.from - 1), to: span.to, max: EXTENTS_MAX };
    const extents = mapExtents(volume, volume, inode, around);
    try {
      const known = { from: span.from, to: knownTo(extents, span) };
      const { laid, to } = this.#lay(inode, extents, known);
      this.laid = laid;
      this.span = { from: span.from, to };
      this.mapped = clipExtents(extents, this.span);
      if (to < span.to) assertRest(volume, inode, { from: to, to: span.to });
      this.stale = [...laid, ...this.mapped.filter(({ unwritten }) => unwritten)];
      const isSame = how.written === true ? this.stale.length === 0 : laid.length === 0;
      if (isSame && how.unwrite === undefined) return;
      this.#filled = fillOut([...this.mapped, ...laid], this.span, how);
      this.#tree = this.#reserveTree(inode, this.#filled);
    } catch (error) {
      this.#releaseBlocks();
      throw error;
    }
  }

  /**
   * Puts the blocks into the file, and marks them as used. The caller stores the inode.
   *
   * @throws DaxdError EFBIG, EBADMSG, EUCLEAN
   */
  name(txn: Transaction, inode: Inode): void {
    const { span } = this;
    if (this.#filled === undefined) return;
    const now = clipExtents(mapExtents(txn, this.#volume, inode, span), span);
    this.#checkUnchanged(inode, now);
    for (const reservation of this.#reservations) reservation.claim(txn);
    spliceExtents(txn, this.#volume, { inode, span, reserve: this.#tree }, this.#filled);
  }

  /** Gives back what did not become the file's. */
  release(): void {
    this.#releaseBlocks();
    this.#tree?.release();
  }

  /** Reserves blocks for the holes of a span, up to what one transaction can name. */
  #lay(
    inode: Inode,
    extents: readonly Extent[],
    span: BlockSpan,
  ): { laid: readonly Extent[]; to: number } {
    const volume = this.#volume;
    const laid: Extent[] = [];
    const holes = holesOf(extents, span);
    if (holes.length === 0) return { laid, to: span.to };
    const limit = new FillLimit(volume);
    const tree = { source: volume, volume, inode };
    const before = lastExtents(tree, { from: 0, to: span.from }).at(-1);
    for (const hole of holes) {
      if (limit.isReached) return { laid, to: hole.from };
      const own = extents.findLast(({ logical }) => logical < hole.from) ?? extents[0];
      const near = [before, own, laid.at(-1)].filter((extent) => extent !== undefined);
      const goal = goalFor(near, hole.from) ?? goalOf(volume, inode);
      const count = Math.min(hole.to - hole.from, limit.blocksLeft);
      const reservation = reserveBlocks(volume, { goal, count, logical: hole.from });
      this.#reservations.push(reservation);
      const kept = limit.take(reservation.runs);
      reservation.trim(kept);
      // One by one: a spread is limited by the stack, and a fragmented hole has many runs.
      for (const extent of layRuns(reservation.runs, hole.from, true)) laid.push(extent);
      if (hole.from + kept < hole.to) return { laid, to: hole.from + kept };
    }
    return { laid, to: span.to };
  }

  #reserveTree(inode: Inode, filled: readonly Extent[]): TreeReserve {
    const tree = { source: this.#volume, volume: this.#volume, inode };
    const count = treeBlocksFor(tree, this.span, filled);
    return new TreeReserve(this.#volume, goalOf(this.#volume, inode), count);
  }

  #releaseBlocks(): void {
    for (const reservation of this.#reservations) reservation.release();
  }

  /**
   * Checks, at the commit, that the file still has in the span what it had. Its gate keeps
   * everybody away but another file whose tree leads to the same block.
   */
  #checkUnchanged(inode: Inode, now: readonly Extent[]): void {
    const isSame =
      now.length === this.mapped.length &&
      now.every((extent, i) => isSameExtent(extent, this.mapped[i]));
    if (!isSame)
      throw damagedTree(
        { inode: inode.number },
        'another file changed it, which leads to the same block',
      );
  }
}

function fillOut(
  extents: readonly Extent[],
  span: BlockSpan,
  { written = false, unwrite }: Filled,
): Extent[] {
  const joined = written ? convertExtents(extents, span, false) : joinExtents(extents);
  if (unwrite === undefined) return joined;
  const from = Math.max(span.from, unwrite.from);
  const to = Math.min(span.to, unwrite.to);
  return from < to ? convertExtents(joined, { from, to }, true) : joined;
}

/** What one transaction can take of new blocks. */
class FillLimit {
  readonly #volume: Volume;
  readonly #groups = new Set<number>();
  readonly #groupsMax: number;
  #runs = 0;
  #blocks = 0;

  constructor(volume: Volume) {
    this.#volume = volume;
    this.#groupsMax = Math.max(1, Math.floor(volume.transactionBlocksMax * BITMAPS_SHARE));
  }

  get isReached(): boolean {
    return this.#groups.size > this.#groupsMax || this.#runs >= EXTENTS_MAX || this.blocksLeft <= 0;
  }

  get blocksLeft(): number {
    return this.#groupsMax * this.#volume.superblock.blocksPerGroup - this.#blocks;
  }

  /** Counts runs, and gives the blocks of those that still fit; the first one always does. */
  take(runs: readonly BlockRun[]): number {
    let kept = 0;
    for (const { start, count } of runs) {
      if (kept > 0 && this.isReached) break;
      this.#groups.add(Math.floor(start / this.#volume.superblock.blocksPerGroup));
      this.#runs++;
      this.#blocks += count;
      kept += count;
    }
    return kept;
  }
}

/** Up to where the extents that were read tell what the file has in a span. */
function knownTo(extents: readonly Extent[], span: BlockSpan): number {
  const last = extents.at(-1);
  if (last === undefined || extents.length < EXTENTS_MAX) return span.to;
  return Math.min(span.to, last.logical + last.length);
}

/** Refuses what will not fit later on before anything is changed. @throws DaxdError ENOSPC */
function assertRest(volume: Volume, inode: Inode, rest: BlockSpan): void {
  const mapped = countBlocks(clipExtents(mapExtents(volume, volume, inode, rest), rest));
  const needed = rest.to - rest.from - mapped;
  assertAvailable(volume, needed);
}

/** Behind the extent nearest before a block, or else as far before the one behind it as it is. */
function goalFor(extents: readonly Extent[], logical: number): number | undefined {
  let near = extents[0];
  for (const extent of extents) {
    const isBefore = extent.logical < logical;
    const isNearer = near === undefined || near.logical > logical || extent.logical > near.logical;
    if (isBefore && isNearer) near = extent;
  }
  if (near === undefined) return undefined;
  if (near.logical < logical) return near.physical + near.length;
  return Math.max(0, near.physical - (near.logical - logical));
}

function isSameExtent(a: Extent, b: Extent | undefined): boolean {
  return (
    a.logical === b?.logical &&
    a.physical === b.physical &&
    a.length === b.length &&
    a.unwritten === b.unwritten
  );
}
