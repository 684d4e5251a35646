import { assert } from '../../lib/assert.js';
import { reserveBlocks } from './allocator.js';
import type { Reservation } from './allocator.js';
import { goalOf, mapExtents } from './extent-tree.js';
import { clipExtents, holesOf, layRuns } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Blocks for the holes in a span of a file, reserved and not yet the file's. What the file
 * has there was read when they were reserved; the file's gate keeps it so until the commit,
 * which checks it.
 */
export class HoleFill {
  readonly span: BlockSpan;
  /** What the file has in the span, cut to it. */
  readonly mapped: readonly Extent[];
  /** What goes into the holes, written or not as the commit decides; ascending. */
  readonly laid: readonly Extent[];
  readonly #reservations: readonly Reservation[];

  private constructor(
    span: BlockSpan,
    mapped: readonly Extent[],
    reservations: readonly Reservation[],
    laid: readonly Extent[],
  ) {
    this.span = span;
    this.mapped = mapped;
    this.laid = laid;
    this.#reservations = reservations;
  }

  /**
   * Reserves blocks for every hole of a finite span, near the blocks before it.
   *
   * @throws DaxdError ENOSPC, and then none is reserved; EBADMSG, EUCLEAN
   */
  static reserve(volume: Volume, inode: Inode, span: BlockSpan): HoleFill {
    // One block more, so that the fill can go on where the file's extent before it ends.
    const around = { from: Math.max(0, span.from - 1), to: span.to };
    const extents = mapExtents(volume, volume, inode, around);
    const reservations: Reservation[] = [];
    const laid: Extent[] = [];
    try {
      for (const hole of holesOf(extents, span)) {
        const goal = goalFor(extents, laid, hole.from) ?? goalOf(volume, inode);
        const count = hole.to - hole.from;
        const reservation = reserveBlocks(volume, { goal, count, logical: hole.from });
        reservations.push(reservation);
        laid.push(...layRuns(reservation.runs, hole.from, true));
      }
    } catch (error) {
      for (const reservation of reservations) reservation.release();
      throw error;
    }
    return new HoleFill(span, clipExtents(extents, span), reservations, laid);
  }

  /** The parts whose blocks hold something else than what the file reads as: holes and unwritten. */
  get stale(): Extent[] {
    return [...this.laid, ...this.mapped.filter(({ unwritten }) => unwritten)];
  }

  /** Marks the reserved blocks as used; the caller puts {@link laid} into the file. */
  claim(txn: Transaction): void {
    for (const reservation of this.#reservations) reservation.claim(txn);
  }

  /** Gives back what was not claimed. */
  release(): void {
    for (const reservation of this.#reservations) reservation.release();
  }

  /** Checks, at the commit, that the file still has in the span what it had. */
  assertUnchanged(extents: readonly Extent[]): void {
    const now = clipExtents(extents, this.span);
    const isSame =
      now.length === this.mapped.length &&
      now.every((extent, i) => isSameExtent(extent, this.mapped[i]));
    assert(isSame, 'nothing changes the blocks of a file while its gate is held');
  }
}

/** Behind what the file has right before a block, or what was just laid before it. */
function goalFor(
  extents: readonly Extent[],
  laid: readonly Extent[],
  logical: number,
): number | undefined {
  const before =
    extents.findLast((extent) => extent.logical < logical) ?? laid.at(-1) ?? extents[0];
  if (before === undefined) return undefined;
  return Math.max(0, before.physical + logical - before.logical);
}

function isSameExtent(a: Extent, b: Extent | undefined): boolean {
  return (
    a.logical === b?.logical &&
    a.physical === b.physical &&
    a.length === b.length &&
    a.unwritten === b.unwritten
  );
}
