import { assertAvailable, reserveBlocks } from './allocator.js';
import type { Reservation } from './allocator.js';
import { spliceExtents, treeBlocksFor } from './extent-splice.js';
import { damagedTree } from './extent-node.js';
import { extentsWithin, goalOf, lastExtents, mapExtents, treeOf } from './extent-tree.js';
import {
  clipExtents,
  convertExtents,
  countBlocks,
  holesOf,
  joinExtents,
  layRuns,
} from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import { FILL_EXTENTS_MAX, FillLimit } from './fill-limit.js';
import type { Inode } from './inode.js';
import type { Transaction } from './transaction.js';
import { TreeReserve } from './tree-blocks.js';
import type { Volume } from './volume.js';

/** What becomes of a span when it is filled. */
export interface Filled {
  /** Holes and unwritten blocks become written ones. */
  readonly written?: boolean;
  /** Blocks in here become unwritten, as far as the span goes. */
  readonly unwrite?: BlockSpan | undefined;
}

/** What a file has in a span before a block is reserved for its holes. */
interface FillPlan {
  /** What was asked for, as far as the extents that were read tell what the file has there. */
  readonly span: BlockSpan;
  /** What the file has there, and the extent right before it; not cut. */
  readonly extents: readonly Extent[];
  /** The stretches of the span without blocks, ascending. */
  readonly holes: readonly BlockSpan[];
}

/** Blocks for holes: where they come into the file, and up to where in the span there are any. */
interface LaidBlocks {
  readonly laid: readonly Extent[];
  readonly to: number;
}

/** A span of a file with blocks for its holes, which the file does not name yet. */
interface FillContent {
  readonly span: BlockSpan;
  readonly mapped: readonly Extent[];
  readonly laid: readonly Extent[];
  /** What the file has in the span once it is filled; undefined where that is what it has. */
  readonly filled: readonly Extent[] | undefined;
}

/** What a fill holds until the file names it. */
interface HeldBlocks {
  readonly reservations: readonly Reservation[];
  readonly tree: TreeReserve | undefined;
}

/**
 * Blocks for the holes in a span of a file, reserved and not yet the file's, and blocks for
 * its tree to name them. What the file has there was read when they were reserved; the file's
 * gate keeps it so until the commit, which checks it.
 */
export class HoleFill {
  readonly #volume: Volume;
  readonly #content: FillContent;
  readonly #held: HeldBlocks;

  private constructor(volume: Volume, content: FillContent, held: HeldBlocks) {
    this.#volume = volume;
    this.#content = content;
    this.#held = held;
  }

  /**
   * Reserves blocks for every hole of a finite span, near the blocks before it. What one
   * transaction cannot name is left for another fill, once it is known to fit.
   *
   * @throws DaxdError ENOSPC, EBADMSG, EUCLEAN; none is reserved then
   */
  static reserve(volume: Volume, inode: Inode, wanted: BlockSpan, how: Filled): HoleFill {
    const plan = planFill(volume, inode, wanted);
    const reservations: Reservation[] = [];
    try {
      const { laid, to } = layHoles(volume, inode, plan, reservations);
      if (to < wanted.to) assertRestFits(volume, inode, { from: to, to: wanted.to });
      const span = { from: wanted.from, to };
      const mapped = clipExtents(plan.extents, span);
      const filled = fillOut({ span, mapped, laid }, how);
      const tree = filled === undefined ? undefined : reserveTree(volume, inode, span, filled);
      return new HoleFill(volume, { span, mapped, laid, filled }, { reservations, tree });
    } catch (error) {
      for (const reservation of reservations) reservation.release();
      throw error;
    }
  }

  /** What one transaction can fill of the span that was asked for: its first part, or all. */
  get span(): BlockSpan {
    return this.#content.span;
  }

  /** What the file has in the span, cut to it. */
  get mapped(): readonly Extent[] {
    return this.#content.mapped;
  }

  /** What goes into the holes, written or not as the commit decides; ascending. */
  get laid(): readonly Extent[] {
    return this.#content.laid;
  }

  /** The parts whose blocks hold something else than what the file reads as: holes and unwritten. */
  get stale(): readonly Extent[] {
    return staleIn(this.#content);
  }

  /**
   * Puts the blocks into the file, and marks them as used. The caller stores the inode.
   *
   * @throws DaxdError EFBIG, EBADMSG, EUCLEAN
   */
  name(txn: Transaction, inode: Inode): void {
    const { span, mapped, filled } = this.#content;
    if (filled === undefined) return;
    const now = extentsWithin(treeOf(txn, this.#volume, inode), span);
    assertUnchanged(inode, mapped, now);
    const { reservations, tree } = this.#held;
    for (const reservation of reservations) reservation.claim(txn);
    spliceExtents(txn, this.#volume, { inode, span, reserve: tree }, filled);
  }

  /** Gives back what did not become the file's. */
  release(): void {
    const { reservations, tree } = this.#held;
    for (const reservation of reservations) reservation.release();
    tree?.release();
  }
}

/**
 * Refuses a fill that there is no space for, before anything is changed: what it takes depends
 * on where the free blocks lie, so it is reserved and given back.
 *
 * @throws DaxdError as {@link HoleFill.reserve} does
 */
export function assertFillFits(volume: Volume, inode: Inode, span: BlockSpan, how: Filled): void {
  HoleFill.reserve(volume, inode, span, how).release();
}

function planFill(volume: Volume, inode: Inode, wanted: BlockSpan): FillPlan {
  // One block more, so that the fill can go on where the file's extent before it ends.
  const around = { from: Math.max(0, wanted.from - 1), to: wanted.to, max: FILL_EXTENTS_MAX };
  const extents = mapExtents(treeOf(volume, volume, inode), around);
  const span = { from: wanted.from, to: knownTo(extents, wanted) };
  return { span, extents, holes: holesOf(extents, span) };
}

/** Up to where the extents that were read tell what the file has in a span. */
function knownTo(extents: readonly Extent[], span: BlockSpan): number {
  const last = extents.at(-1);
  if (last === undefined || extents.length < FILL_EXTENTS_MAX) return span.to;
  return Math.min(span.to, last.logical + last.length);
}

/**
 * Reserves blocks for the holes of a plan, up to what one transaction can name.
 *
 * @param reservations takes each of them, for whoever must give them back when this throws
 * @throws DaxdError ENOSPC, EBADMSG, EUCLEAN
 */
function layHoles(
  volume: Volume,
  inode: Inode,
  { span, extents, holes }: FillPlan,
  reservations: Reservation[],
): LaidBlocks {
  const laid: Extent[] = [];
  if (holes.length === 0) return { laid, to: span.to };
  const limit = new FillLimit(volume);
  const tree = treeOf(volume, volume, inode);
  const before = lastExtents(tree, { from: 0, to: span.from }).at(-1);
  for (const hole of holes) {
    if (limit.isReached) return { laid, to: hole.from };
    const own = extents.findLast(({ logical }) => logical < hole.from) ?? extents[0];
    const near = [before, own, laid.at(-1)].filter((extent) => extent !== undefined);
    const goal = goalFor(near, hole.from) ?? goalOf(volume, inode);
    const count = Math.min(hole.to - hole.from, limit.blocksLeft);
    const reservation = reserveBlocks(volume, { goal, count, logical: hole.from });
    reservations.push(reservation);
    const kept = limit.take(reservation.runs);
    reservation.trim(kept);
    // One by one: a spread is limited by the stack, and a fragmented hole has many runs.
    for (const extent of layRuns(reservation.runs, hole.from, 'unwritten')) laid.push(extent);
    if (hole.from + kept < hole.to) return { laid, to: hole.from + kept };
  }
  return { laid, to: span.to };
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

/** Refuses what will not fit later on before anything is changed. @throws DaxdError ENOSPC */
function assertRestFits(volume: Volume, inode: Inode, rest: BlockSpan): void {
  const mapped = countBlocks(clipExtents(mapExtents(treeOf(volume, volume, inode), rest), rest));
  const needed = rest.to - rest.from - mapped;
  assertAvailable(volume, needed);
}

/** What the file has in the span once it is filled; undefined where that is what it has. */
function fillOut(
  content: Omit<FillContent, 'filled'>,
  { written = false, unwrite }: Filled,
): Extent[] | undefined {
  const { span, mapped, laid } = content;
  const isSame = written ? staleIn(content).length === 0 : laid.length === 0;
  if (isSame && unwrite === undefined) return undefined;
  const extents = [...mapped, ...laid];
  const joined = written ? convertExtents(extents, span, 'written') : joinExtents(extents);
  if (unwrite === undefined) return joined;
  const from = Math.max(span.from, unwrite.from);
  const to = Math.min(span.to, unwrite.to);
  return from < to ? convertExtents(joined, { from, to }, 'unwritten') : joined;
}

function staleIn({ mapped, laid }: Omit<FillContent, 'filled'>): Extent[] {
  return [...laid, ...mapped.filter(({ unwritten }) => unwritten)];
}

function reserveTree(
  volume: Volume,
  inode: Inode,
  span: BlockSpan,
  filled: readonly Extent[],
): TreeReserve {
  const count = treeBlocksFor(treeOf(volume, volume, inode), span, filled);
  return new TreeReserve(volume, goalOf(volume, inode), count);
}

/**
 * Checks, at the commit, that the file still has in the span what it had. Its gate keeps
 * everybody away but another file whose tree leads to the same block.
 *
 * @throws DaxdError EUCLEAN
 */
function assertUnchanged(inode: Inode, mapped: readonly Extent[], now: readonly Extent[]): void {
  const isSame =
    now.length === mapped.length && now.every((extent, i) => isSameExtent(extent, mapped[i]));
  if (isSame) return;
  throw damagedTree(
    { inode: inode.number },
    'another file changed it, which leads to the same block',
  );
}

function isSameExtent(a: Extent, b: Extent | undefined): boolean {
  return (
    a.logical === b?.logical &&
    a.physical === b.physical &&
    a.length === b.length &&
    a.unwritten === b.unwritten
  );
}
