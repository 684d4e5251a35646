import type { Clock } from '../../lib/clock.js';
import { DaxdError } from '../../lib/errno.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../lib/latency-histogram.js';
import type { BackingRange } from '../../media/backing-range.js';
import type { Journal } from '../jbd2/journal.js';
import type { BufferCache } from './buffer-cache.js';
import { persistStores, storeInPlace } from './checkpoint.js';
import { CompoundTransaction } from './compound-transaction.js';
import { SUPERBLOCK_BLOCK, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE } from './layout.js';
import { storeSuperblockBytes } from './superblock-store.js';
import type { Transaction } from './transaction.js';

/** What {@link Commits} works on. */
export interface CommitsOptions {
  readonly range: BackingRange;
  readonly cache: BufferCache;
  readonly clock: Clock;
  /** Told once when the media fail; no transaction may come after it. */
  readonly onFailure: (reason: string) => void;
}

/** What was committed since the mount. */
export interface CommitCounters {
  /** From the start of each commit until it was durable and in its place. */
  readonly latency: LatencyHistogram;
  /** Operations whose changes were committed; several share a commit. */
  readonly operations: number;
}

const SUPERBLOCK_END = SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE;
/** Blocks of a transaction where no log bounds it. */
const UNLOGGED_BLOCKS_MAX = 16384;

/**
 * Makes transactions durable, one compound transaction after the other. What arrives while
 * one is under way, or in the same turn, shares the next.
 *
 * With a journal: into the log, durably, then in place, durably. So a power cut leaves all of
 * it or nothing. Without one: in place, and a power cut may leave half of it.
 */
export class Commits implements CommitCounters {
  readonly latency = new LatencyHistogram(FAST_BOUNDS_SECONDS);
  operations = 0;
  readonly #clock: Clock;
  readonly #range: BackingRange;
  readonly #cache: BufferCache;
  readonly #onFailure: (reason: string) => void;
  #journal: Journal | undefined;
  #running: CompoundTransaction | undefined;
  #committing: CompoundTransaction | undefined;

  constructor({ range, cache, clock, onFailure }: CommitsOptions) {
    this.#clock = clock;
    this.#range = range;
    this.#cache = cache;
    this.#onFailure = onFailure;
  }

  /** From now on everything is logged first. */
  useJournal(journal: Journal): void {
    this.#journal = journal;
  }

  /**
   * Empties the journal, if there is one, when nothing waits to become durable; a superblock
   * that only the journal has is put in its place before.
   */
  async stopJournal(): Promise<void> {
    const superblock = this.#journal?.kept.get(SUPERBLOCK_BLOCK);
    if (superblock !== undefined) await this.#storeSuperblock(superblock);
    await this.#journal?.stop();
  }

  /** Changed blocks that one operation may have: half the log, as others share it. */
  get transactionBlocksMax(): number {
    if (this.#journal === undefined) return UNLOGGED_BLOCKS_MAX;
    const { maxLen, first } = this.#journal.superblock;
    return Math.floor((maxLen - first) / 2);
  }

  /**
   * Whether a transaction fits beside those that wait for the next commit; once
   * {@link whenDone} has settled it may.
   *
   * @throws DaxdError EFBIG when it never does
   */
  hasRoom(txn: Transaction): boolean {
    if (txn.changes.size > this.transactionBlocksMax) {
      throw new DaxdError(
        'EFBIG',
        `${txn.changes.size} metadata blocks change at once, the journal takes ${this.transactionBlocksMax}: make the change in smaller pieces`,
      );
    }
    if (this.#running === undefined || this.#journal === undefined) return true;
    const { blocks, revoked } = this.#running.sizeWith(txn);
    return this.#journal.fits(blocks, revoked);
  }

  /** Takes a sealed transaction over; from now on reads see it. Settles when it is durable. */
  async join(txn: Transaction): Promise<void> {
    this.#running ??= this.#schedule(new CompoundTransaction());
    const { durable } = this.#running;
    this.#running.join(txn, this.#cache);
    await durable;
  }

  /** Settles when all that reads see now is durable; undefined where it is. @throws DaxdError EIO */
  whenDurable(): Promise<void> | undefined {
    return (this.#running ?? this.#committing)?.durable;
  }

  /** Settles when nothing waits to become durable, whether it did or failed. */
  async whenDone(): Promise<void> {
    for (;;) {
      const last = this.#running ?? this.#committing;
      if (last === undefined) return;
      await last.durable.catch(() => {});
    }
  }

  #schedule(compound: CompoundTransaction): CompoundTransaction {
    // What other connections brought in this turn of the event loop still gets in.
    if (this.#committing === undefined) setImmediate(() => void this.#commitAll());
    return compound;
  }

  async #commitAll(): Promise<void> {
    while (this.#running !== undefined) {
      const compound = this.#running;
      this.#running = undefined;
      this.#committing = compound;
      try {
        await this.#commit(compound);
      } catch (error) {
        this.#abort(error);
        return;
      }
      this.#committing = undefined;
      compound.settle();
    }
  }

  async #commit(compound: CompoundTransaction): Promise<void> {
    const startMs = this.#clock.nowMs();
    // Stores past the end of a file that shrank would end the process with SIGBUS.
    this.#range.backing.checkSize();
    await this.#journal?.commit(compound);
    await this.#storeInPlace(compound);
    for (const [block, bytes] of compound.blocks) {
      if (block !== SUPERBLOCK_BLOCK) this.#cache.clean(block, bytes);
    }
    this.latency.observe((this.#clock.nowMs() - startMs) / 1000);
    this.operations += compound.operations;
  }

  /**
   * All but the superblock, of which no medium stores fields and checksum at once, and over a
   * torn one the kernel refuses the mount: it stays in the journal, and dirty in the cache.
   */
  async #storeInPlace(compound: CompoundTransaction): Promise<void> {
    await persistStores(this.#range, storeInPlace(this.#range, compound));
    const first = compound.blocks.get(SUPERBLOCK_BLOCK);
    if (first === undefined) return;
    if (this.#journal === undefined) await this.#storeSuperblock(first);
    else this.#journal.keep(SUPERBLOCK_BLOCK, first);
  }

  async #storeSuperblock(block: Buffer): Promise<void> {
    await storeSuperblockBytes(this.#range, block.subarray(SUPERBLOCK_OFFSET, SUPERBLOCK_END));
  }

  /**
   * Fails the transaction under way and the one that waits, for it may build on the other.
   * Nothing of them is to be seen any more; what the media hold, the next mount finds out.
   */
  #abort(error: unknown): void {
    const failed = [this.#committing, this.#running];
    this.#committing = undefined;
    this.#running = undefined;
    this.#cache.dropChanges();
    this.#onFailure('writing metadata to the media failed');
    for (const compound of failed) compound?.fail(error);
  }
}
