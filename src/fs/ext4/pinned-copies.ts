import type { BrokenLayout } from '../../dax/broken-layout.js';
import { reserveBlocks, whenSpace } from './allocator.js';
import type { Reservation } from './allocator.js';
import { pagesOf } from './block-pages.js';
import { DataStores, writtenOf } from './data-stores.js';
import type { ByteSpan } from './data-stores.js';
import { spliceExtents } from './extent-splice.js';
import { mapExtents } from './extent-tree.js';
import { clipExtents, layRuns } from './extent.js';
import type { Extent } from './extent.js';
import { mediaOffset } from './file-read.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** A block of a file, and the one that comes in its place. */
interface Copy {
  readonly old: Extent;
  readonly reservation: Reservation;
}

/**
 * New blocks in place of pinned ones that a change zeroes in part: what the holder of the pin
 * sees stays as it is, and the file has a copy of what it keeps, zeros behind it. The copies
 * are durable before the file names them. To be released in every case.
 */
export class PinnedCopies {
  readonly #volume: Volume;
  readonly #copies: Copy[] = [];
  #state: 'held' | 'swapped' = 'held';

  private constructor(volume: Volume) {
    this.#volume = volume;
  }

  /**
   * Copies those blocks with an edge of `zeroed` that are pinned, where the change defers. To
   * be called within the file's gate: nothing else writes to the file until the swap.
   *
   * @param zeroed bytes that the change sets to zero
   * @throws DaxdError ENOSPC, EIO, EBADMSG, EUCLEAN; nothing is reserved then
   */
  static async ofEdges(
    volume: Volume,
    inode: Inode,
    zeroed: ByteSpan,
    layout: BrokenLayout,
  ): Promise<PinnedCopies> {
    const copies = new PinnedCopies(volume);
    if (!layout.change.defers) return copies;
    try {
      for (const old of pinnedEdges(volume, inode, zeroed, layout)) await copies.#copy(old, zeroed);
      return copies;
    } catch (error) {
      copies.release();
      throw error;
    }
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
    for (const { old, reservation } of this.#copies) {
      const span = { from: old.logical, to: old.logical + old.length };
      reservation.claim(txn);
      spliceExtents(
        txn,
        this.#volume,
        { inode, span },
        layRuns(reservation.runs, old.logical, false),
      );
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

  async #copy(old: Extent, zeroed: ByteSpan): Promise<void> {
    const volume = this.#volume;
    const reservation = await whenSpace(volume, () =>
      reserveBlocks(volume, { goal: old.physical, count: 1 }),
    );
    this.#copies.push({ old, reservation });
    const offset = old.logical * BLOCK_SIZE;
    const content = Buffer.alloc(BLOCK_SIZE);
    volume.range.read(mediaOffset(old, offset), content);
    content.fill(0, Math.max(0, zeroed.from - offset), Math.min(BLOCK_SIZE, zeroed.to - offset));
    const stores = new DataStores(volume);
    stores.write(layRuns(reservation.runs, old.logical, false), offset, content);
    await stores.persist();
  }
}

/** The blocks that a span of bytes begins or ends within, as far as they are written and pinned. */
function pinnedEdges(
  volume: Volume,
  inode: Inode,
  { from, to }: ByteSpan,
  layout: BrokenLayout,
): Extent[] {
  if (from >= to) return [];
  const edges = new Set(
    [from, to].filter((at) => at % BLOCK_SIZE > 0).map((at) => Math.floor(at / BLOCK_SIZE)),
  );
  return [...edges].flatMap((block) => {
    const span = { from: block, to: block + 1 };
    return clipExtents(writtenOf(mapExtents(volume, volume, inode, span)), span).filter(
      ({ physical }) => layout.pinnedIn(pagesOf(volume, { start: physical, count: 1 })).length > 0,
    );
  });
}
