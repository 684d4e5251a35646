import { DaxdError } from '../../lib/errno.js';
import type { ByteSpan } from './byte-span.js';
import { extentsWithin, treeOf } from './extent-tree.js';
import { countBlocks, joinExtents } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import { zeroInPieces } from './file-zero.js';
import { freeSpan, inTransactions } from './free-span.js';
import { readAnyInode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { tryBreakFileLayouts } from './layout-break.js';
import type { MediaRun, QuarantineMove } from './quarantine-state.js';
import { checkWholeBlocks } from './regular-file.js';
import type { Volume } from './volume.js';

/**
 * The blocks of a filesystem that left their files while they were pinned. They stay in use on
 * the media, across mounts too, until {@link release}.
 */
export class Quarantine {
  readonly #volume: Volume;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Why no change can defer here; undefined where it can. */
  get refusal(): string | undefined {
    return this.#volume.quarantine.refusal?.message;
  }

  /** What is quarantined, in bytes. */
  get bytes(): number {
    return this.#volume.quarantine.blocks * BLOCK_SIZE;
  }

  /** What changes keep room for beside that, in bytes: see {@link reserve}. */
  get reservedBytes(): number {
    return this.#volume.quarantine.reservedBeside() * BLOCK_SIZE;
  }

  /** How much may be, in bytes: 10 % of the partition. */
  get capBytes(): number {
    return this.#volume.quarantine.capBlocks * BLOCK_SIZE;
  }

  /** What is quarantined, ascending, as few runs as there are. @throws DaxdError EBADMSG, EUCLEAN */
  extents(): MediaRun[] {
    return joinExtents(this.#extents({ from: 0, to: Infinity })).map(({ physical, length }) => ({
      mediaOffset: physical * BLOCK_SIZE,
      length: length * BLOCK_SIZE,
    }));
  }

  /**
   * Keeps room for whole blocks that a change is about to move in, so that no other one takes it;
   * what it moves in takes the place of that. What it returns ends it.
   */
  reserve(change: string, bytes: number): () => void {
    return this.#volume.quarantine.reserve(change, bytes / BLOCK_SIZE);
  }

  /**
   * Has `port` told of what is moved in, once that is durable and before the change settles.
   * What it throws is logged; the blocks are quarantined all the same.
   */
  onMoved(port: (move: QuarantineMove) => Promise<void>): void {
    this.#volume.quarantine.onMoved(port);
  }

  /**
   * Lets blocks go: zeroes them, durably, then frees them, in one transaction where they fit.
   * After a power cut in between they are quarantined still. The caller knows that no device
   * stores to them any more.
   *
   * @throws DaxdError EINVAL for what is not whole blocks, ENOENT when not all of it is
   *   quarantined, EBUSY when a page is pinned, EROFS, ESHUTDOWN, EIO; then nothing is freed
   */
  async release(mediaOffset: number, length: number): Promise<void> {
    const volume = this.#volume;
    const span = checkWholeBlocks(mediaOffset, length);
    volume.assertWritable();
    const { inode } = volume.quarantine;
    if (inode === undefined) throw notQuarantined(span);
    await volume.withInode(inode, async () => {
      await this.#free(inode, span);
    });
  }

  async #free(number: number, span: BlockSpan): Promise<void> {
    const volume = this.#volume;
    const extents = this.#extents(span);
    if (countBlocks(extents) < span.to - span.from) throw notQuarantined(span);
    const { from, to } = bytesOf(span);
    // To the layer below it is a hole in the file: each block stands at its own number.
    const layout = tryBreakFileLayouts(volume, { op: 'punch-hole', inode: number, from, to });
    if (layout === undefined) {
      throw new DaxdError(
        'EBUSY',
        `pages of bytes ${from} to ${to} are pinned: they stay quarantined`,
      );
    }
    try {
      await zeroInPieces(volume, extents, () => {
        volume.assertWritable();
      });
      await inTransactions(volume, (txn) => {
        const inode = readAnyInode(txn, volume, number);
        const piece = freeSpan(txn, volume, { inode, span }, layout);
        inode.touch();
        inode.store(txn);
        txn.onStored(() => {
          volume.quarantine.blocks -= piece.blocks;
        });
        return piece;
      });
    } finally {
      layout.lift();
    }
  }

  #extents(span: BlockSpan): Extent[] {
    const volume = this.#volume;
    const { inode: number } = volume.quarantine;
    if (number === undefined) return [];
    const inode = readAnyInode(volume, volume, number);
    return extentsWithin(treeOf(volume, volume, inode), span);
  }
}

function bytesOf({ from, to }: BlockSpan): ByteSpan {
  return { from: from * BLOCK_SIZE, to: to * BLOCK_SIZE };
}

function notQuarantined(span: BlockSpan): DaxdError {
  const { from, to } = bytesOf(span);
  return new DaxdError('ENOENT', `bytes ${from} to ${to} of the partition are not all quarantined`);
}
