import type { BrokenLayout } from '../../dax/broken-layout.js';
import { MIB } from '../../lib/units.js';
import { reserveBlocks } from './allocator.js';
import type { Reservation } from './allocator.js';
import { wholeBlocks } from './byte-span.js';
import type { ByteSpan } from './byte-span.js';
import { DataStores } from './data-stores.js';
import { spliceExtents } from './extent-splice.js';
import { extentsWithin, treeOf } from './extent-tree.js';
import { layRuns, writtenOf } from './extent.js';
import type { BlockSpan, Extent, ExtentState } from './extent.js';
import { mediaOffset } from './file-read.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { pinnedParts } from './pinned-parts.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { whenSpace } from './when-space.js';

/** Bytes copied before others get a turn. */
const COPY_PIECE_BYTES = 4 * MIB;

/** Blocks of a file in one piece, and those that come in their place. */
interface Copy {
  readonly old: Extent;
  readonly reservation: Reservation;
  /** Of the new ones: unwritten where they read as zeros, and nothing is copied. */
  readonly state: ExtentState;
}

/**
 * New blocks in place of pinned ones that a change zeroes or moves within the file: what the
 * holder of the pin sees stays as it is, and the file has a copy of what it keeps. The copies
 * are durable before the file names them. To be made within the file's gate, so that nothing
 * else writes to the file until the swap, and to be released in every case.
 */
export class PinnedCopies {
  readonly #volume: Volume;
  readonly #copies: Copy[] = [];
  #state: 'held' | 'swapped' = 'held';

  private constructor(volume: Volume) {
    this.#volume = volume;
  }

  /**
   * Copies those blocks with an edge of `zeroed` that are pinned, where the change defers; the
   * bytes of `zeroed` are zeros in the copies.
   *
   * @throws DaxdError ENOSPC, EIO, EBADMSG, EUCLEAN; nothing is reserved then
   */
  static async ofEdges(
    volume: Volume,
    inode: Inode,
    zeroed: ByteSpan,
    layout: BrokenLayout,
  ): Promise<PinnedCopies> {
    return await PinnedCopies.#of(volume, layout, async (copies) => {
      for (const block of edgesOf(zeroed)) {
        const edge = { from: block, to: block + 1 };
        for (const old of pinnedIn(volume, inode, edge, layout)) await copies.#copy(old, zeroed);
      }
    });
  }

  /** {@link ofEdges}, and unwritten blocks for those that lie wholly within `zeroed`. */
  static async ofZeroed(
    volume: Volume,
    inode: Inode,
    zeroed: ByteSpan,
    layout: BrokenLayout,
  ): Promise<PinnedCopies> {
    const whole = wholeBlocks(zeroed);
    const copies = await PinnedCopies.ofEdges(volume, inode, zeroed, layout);
    try {
      for (const old of pinnedIn(volume, inode, whole, layout))
        await copies.#reserve(old, 'unwritten');
      return copies;
    } catch (error) {
      copies.release();
      throw error;
    }
  }

  /** Copies all pinned blocks of a span, where the change defers. @throws DaxdError as {@link ofEdges} */
  static async ofSpan(
    volume: Volume,
    inode: Inode,
    span: BlockSpan,
    layout: BrokenLayout,
  ): Promise<PinnedCopies> {
    return await PinnedCopies.#of(volume, layout, async (copies) => {
      const pinned = pinnedIn(volume, inode, span, layout);
      for (const old of pinned) await copies.#copy(old, NO_BYTES);
    });
  }

  /** Whether no block is replaced. */
  get isEmpty(): boolean {
    return this.#copies.length === 0;
  }

  /**
   * Makes the file name the new blocks, and gives the old ones, which are the caller's then.
   * Nothing the second time. The caller stores the inode.
   */
  swap(txn: Transaction, inode: Inode): Extent[] {
    if (this.#state === 'swapped') return [];
    for (const { old, reservation, state } of this.#copies) {
      const span = { from: old.logical, to: old.logical + old.length };
      const laid = layRuns(reservation.runs, old.logical, state);
      reservation.claim(txn);
      spliceExtents(txn, this.#volume, { inode, span }, laid);
    }
    txn.onStored(() => {
      this.#state = 'swapped';
    });
    return this.#copies.map(({ old }) => old);
  }

  /** Gives back what did not become the file's. */
  release(): void {
    for (const { reservation } of this.#copies) reservation.release();
  }

  static async #of(
    volume: Volume,
    layout: BrokenLayout,
    fill: (copies: PinnedCopies) => Promise<void>,
  ): Promise<PinnedCopies> {
    const copies = new PinnedCopies(volume);
    if (!layout.change.defers) return copies;
    try {
      await fill(copies);
      return copies;
    } catch (error) {
      copies.release();
      throw error;
    }
  }

  async #reserve(old: Extent, state: ExtentState): Promise<Extent[]> {
    const volume = this.#volume;
    const { physical: goal, length: count, logical } = old;
    const reservation = await whenSpace(volume, () =>
      reserveBlocks(volume, { goal, count, logical }),
    );
    this.#copies.push({ old, reservation, state });
    return layRuns(reservation.runs, logical, state);
  }

  async #copy(old: Extent, zeroed: ByteSpan): Promise<void> {
    const volume = this.#volume;
    const laid = await this.#reserve(old, 'written');
    const stores = new DataStores(volume);
    const end = (old.logical + old.length) * BLOCK_SIZE;
    for (let offset = old.logical * BLOCK_SIZE; offset < end; offset += COPY_PIECE_BYTES) {
      volume.assertWritable();
      const content = Buffer.alloc(Math.min(COPY_PIECE_BYTES, end - offset));
      volume.range.read(mediaOffset(old, offset), content);
      const from = Math.max(0, zeroed.from - offset);
      content.fill(0, from, Math.max(from, Math.min(content.length, zeroed.to - offset)));
      stores.write(laid, offset, content);
      await stores.persist();
    }
  }
}

const NO_BYTES: ByteSpan = { from: 0, to: 0 };

/** The blocks that a span of bytes begins or ends within. */
function edgesOf({ from, to }: ByteSpan): Set<number> {
  const edges = from < to ? [from, to].filter((at) => at % BLOCK_SIZE > 0) : [];
  return new Set(edges.map((at) => Math.floor(at / BLOCK_SIZE)));
}

/** The pinned parts of what is written in a span: what is not holds nothing of the file's. */
function pinnedIn(volume: Volume, inode: Inode, span: BlockSpan, layout: BrokenLayout): Extent[] {
  const extents = writtenOf(extentsWithin(treeOf(volume, volume, inode), span));
  return extents.flatMap((extent) => pinnedParts(volume, extent, layout));
}
