import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import { PAGES_PER_PMD, PMD_SIZE } from '../../lib/units.js';
import { countRuns } from '../block-run.js';
import { reserveBlocks } from './allocator.js';
import type { Reservation } from './allocator.js';
import { DataStores } from './data-stores.js';
import { spliceExtents } from './extent-splice.js';
import { WHOLE_FILE } from './extent-tree.js';
import { layRuns } from './extent.js';
import type { Extent } from './extent.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { checkRange } from './regular-file.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { isOutOfSpace, whenSpace } from './when-space.js';

/** Blocks reserved at once ahead of the data, at most: 8 MiB. */
const AHEAD_BLOCKS_MAX = 4 * PAGES_PER_PMD;

/** What {@link stageContent} may be told. */
export interface StageOptions {
  /** Block to be near to, such as `goalOf` the inode gives; the start of the media by default. */
  readonly goal?: number | undefined;
  /** Aborted: staging ends with `cancelled`, and leaves nothing. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Whole content for a file, stored in reserved blocks: no metadata names them yet. It goes
 * into a file by {@link install} within a transaction, or away by {@link release}; one of the
 * two must happen.
 */
export class StagedContent {
  readonly #volume: Volume;
  readonly #reservations: Reservation[] = [];
  #goal: number;
  #size = 0;
  /** Pieces that are not stored yet. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #state: 'filling' | 'full' = 'filling';

  constructor(volume: Volume, goal: number) {
    this.#volume = volume;
    this.#goal = goal;
  }

  /** Bytes. */
  get size(): number {
    return this.#size;
  }

  /** Where the content lies. */
  get extents(): Extent[] {
    const runs = this.#reservations.flatMap((reservation) => reservation.runs);
    return layRuns(runs, 0, 'written');
  }

  /** Takes the next piece; kept as it is until it is stored, with 2 MiB or at the end. */
  async append(piece: Uint8Array): Promise<void> {
    assert(this.#state === 'filling', 'content is appended before it is finished');
    checkRange(this.#size + this.#pendingBytes, piece.length);
    this.#pending.push(piece);
    this.#pendingBytes += piece.length;
    if (this.#pendingBytes >= PMD_SIZE) await this.#store(AHEAD_BLOCKS_MAX);
  }

  /** Stores the rest, and gives back what was reserved ahead. All is durable when it settles. */
  async finish(): Promise<void> {
    assert(this.#state === 'filling', 'content is finished once');
    await this.#store(0);
    this.#state = 'full';
    let left = Math.ceil(this.#size / BLOCK_SIZE);
    for (const reservation of this.#reservations) {
      const count = Math.min(left, countRuns(reservation.runs));
      reservation.trim(count);
      left -= count;
    }
  }

  /** Makes it the content of an inode whose data blocks were freed or never were; the caller stores the inode. */
  install(txn: Transaction, inode: Inode): void {
    assert(this.#state === 'full', 'content is installed when all of it is there');
    for (const reservation of this.#reservations) reservation.claim(txn);
    spliceExtents(txn, this.#volume, { inode, span: WHOLE_FILE }, this.extents);
    inode.size = this.#size;
  }

  /** Gives the blocks back, unless they are a file's by now. */
  release(): void {
    for (const reservation of this.#reservations) reservation.release();
  }

  async #store(aheadMax: number): Promise<void> {
    const end = this.#size + this.#pendingBytes;
    await whenSpace(this.#volume, () => {
      this.#reserve(Math.ceil(end / BLOCK_SIZE), aheadMax);
    });
    // No gate holds an unmount up for this: the blocks may be another filesystem's by now.
    this.#volume.assertWritable();
    const { extents } = this;
    const stores = new DataStores(this.#volume);
    for (const piece of this.#pending) {
      stores.write(extents, this.#size, piece);
      this.#size += piece.length;
    }
    // The rest of the last block is overwritten when more comes.
    stores.zero(extents, { from: end, to: Math.ceil(end / BLOCK_SIZE) * BLOCK_SIZE });
    this.#pending = [];
    this.#pendingBytes = 0;
    await stores.persist();
  }

  /** Has at least `blocks` reserved, and where there is room as much again, for long extents. */
  #reserve(blocks: number, aheadMax: number): void {
    const have = this.#reservations.reduce((total, { runs }) => total + countRuns(runs), 0);
    const needed = blocks - have;
    if (needed <= 0) return;
    const wanted = Math.max(needed, Math.min(aheadMax, have));
    const reservation =
      (wanted > needed ? this.#tryReserve(wanted, have) : undefined) ??
      reserveBlocks(this.#volume, { goal: this.#goal, count: needed, logical: have });
    this.#reservations.push(reservation);
    const last = reservation.runs.at(-1);
    if (last !== undefined) this.#goal = last.start + last.count;
  }

  /** Reserving ahead is a favour: without room for it, what is needed will do. */
  #tryReserve(count: number, logical: number): Reservation | undefined {
    try {
      return reserveBlocks(this.#volume, { goal: this.#goal, count, logical });
    } catch (error) {
      if (isOutOfSpace(error)) return undefined;
      throw error;
    }
  }
}

/**
 * Stores a stream of bytes in reserved blocks, as the content of a file to come. Pieces must
 * not change after they were handed out. When the source fails, the blocks are free again.
 *
 * @throws DaxdError ENOSPC, EFBIG, EROFS, EIO, `cancelled`, and whatever the source throws
 */
export async function stageContent(
  volume: Volume,
  source: AsyncIterable<Uint8Array>,
  { goal = 0, signal }: StageOptions = {},
): Promise<StagedContent> {
  volume.assertWritable();
  const content = new StagedContent(volume, goal);
  try {
    for await (const piece of source) {
      if (signal?.aborted === true) throw new DaxdError('cancelled', 'the upload was cancelled');
      volume.assertWritable();
      await content.append(piece);
    }
    await content.finish();
    return content;
  } catch (error) {
    content.release();
    throw error;
  }
}
