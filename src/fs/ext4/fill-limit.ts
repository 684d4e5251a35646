import type { BlockRun } from '../block-run.js';
import type { Volume } from './volume.js';

/** Extents that one fill looks at, and as many again that it adds. */
export const FILL_EXTENTS_MAX = 1024;

/** Share of a transaction's blocks that bitmaps may take, each with its descriptors' block. */
const BITMAPS_SHARE = 1 / 8;

/** What one transaction can take of new blocks. */
export class FillLimit {
  readonly #volume: Volume;
  readonly #groups = new Set<number>();
  readonly #groupsMax: number;
  #runs = 0;
  #blocks = 0;

  constructor(volume: Volume) {
    this.#volume = volume;
    this.#groupsMax = Math.max(1, Math.floor(volume.transactionBlocksMax * BITMAPS_SHARE));
  }

  /** Whether another run would be one too many. */
  get isReached(): boolean {
    return (
      this.#groups.size > this.#groupsMax || this.#runs >= FILL_EXTENTS_MAX || this.blocksLeft <= 0
    );
  }

  /** Blocks that may still be asked for. */
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
