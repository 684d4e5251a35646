import type { LayoutOp } from '../../dax/layout-change.js';
import { DaxdError } from '../../lib/errno.js';
import type { Logger } from '../../lib/logger.js';
import type { BackingRange } from '../../media/backing-range.js';
import { BLOCK_SIZE } from './layout.js';

/** The file in the root directory that owns what is quarantined. */
export const QUARANTINE_NAME = '.daxd-quarantine';

/** Share of the partition that may be quarantined. */
const CAP_SHARE = 1 / 10;

/** A stretch of the partition, in bytes; whole blocks. */
export interface MediaRun {
  readonly mediaOffset: number;
  readonly length: number;
}

/** Blocks that left their file while their pages were pinned. */
export interface QuarantineMove {
  /** Id of the layout change. */
  readonly change: string;
  readonly op: LayoutOp;
  /** The file that they left. */
  readonly inode: number;
  readonly path: string | undefined;
  readonly runs: readonly MediaRun[];
}

/**
 * What is known of a filesystem's quarantine beside the media: which file it is, how much it
 * has, and who is told of what comes in. The media come first: whoever is told hears of what
 * is durable there.
 */
export class QuarantineState {
  /** The file; undefined before the first block is quarantined. */
  inode: number | undefined;
  /** Quarantined blocks, without those of the file's own tree. */
  blocks = 0;
  /** Blocks that changes are about to bring, by change. */
  readonly #reserved = new Map<string, number>();
  /** Why nothing can be quarantined here; undefined while something can. */
  refusal: DaxdError | undefined;
  /** Quarantined blocks that there may be. */
  readonly capBlocks: number;
  readonly #log: Logger;
  #port: (move: QuarantineMove) => Promise<void> = async () => {};
  #told: Promise<void> = Promise.resolve();

  constructor(partition: BackingRange, log: Logger) {
    this.capBlocks = Math.floor((partition.length * CAP_SHARE) / BLOCK_SIZE);
    this.#log = log;
  }

  /** @throws DaxdError EEXIST, EOPNOTSUPP, EUCLEAN, EBADMSG where nothing can be quarantined */
  assertAvailable(): void {
    if (this.refusal === undefined) return;
    throw new DaxdError(this.refusal.code, this.refusal.message);
  }

  /**
   * Checks that so many more blocks may be quarantined, beside those that other changes than
   * `change` keep room for.
   *
   * @throws DaxdError `quarantine-full`
   */
  assertRoom(blocks: number, change?: string): void {
    const now = this.blocks + this.reservedBeside(change);
    if (now + blocks <= this.capBlocks) return;
    throw new DaxdError(
      'quarantine-full',
      `${blocks} blocks would be quarantined beside ${now}, ${this.capBlocks} may be: the file is unchanged; release quarantined ranges, or wait for the pages`,
    );
  }

  /** Keeps room for what a change may bring; what it returns ends that. */
  reserve(change: string, blocks: number): () => void {
    this.#reserved.set(change, blocks);
    return () => {
      this.#reserved.delete(change);
    };
  }

  /** Blocks that room is kept for, but for that of one change. */
  reservedBeside(change?: string): number {
    let sum = 0;
    for (const [by, blocks] of this.#reserved) if (by !== change) sum += blocks;
    return sum;
  }

  /** Takes in blocks that a change brought: they stand in the place that was kept for them. */
  add(change: string, blocks: number): void {
    this.blocks += blocks;
    const rest = (this.#reserved.get(change) ?? 0) - blocks;
    if (rest > 0) this.#reserved.set(change, rest);
    else this.#reserved.delete(change);
  }

  /** Has `port` told of each move once it is durable, one after the other. */
  onMoved(port: (move: QuarantineMove) => Promise<void>): void {
    this.#port = port;
  }

  /** Notes a move that is durable. */
  moved(move: QuarantineMove): void {
    this.#told = this.#tell(this.#told, move);
  }

  /** Settles when all moves so far were told. */
  async told(): Promise<void> {
    await this.#told;
  }

  async #tell(before: Promise<void>, move: QuarantineMove): Promise<void> {
    await before;
    try {
      await this.#port(move);
    } catch (error) {
      // The blocks are safe where they are; nobody knows whose they were.
      this.#log.error({ error, change: move.change }, 'a quarantined range could not be recorded');
    }
  }
}
