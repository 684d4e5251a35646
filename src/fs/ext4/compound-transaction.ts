import type { JournalTransaction } from '../jbd2/journal.js';
import { reuseBlocks } from './block-copy.js';
import type { BufferCache } from './buffer-cache.js';
import type { Transaction } from './transaction.js';

/**
 * The transactions of operations that become durable together. Each joins it when it is
 * complete, one after the other, so a later one sees the earlier ones.
 *
 *     running (takes joins) --settle--> durable or failed
 *
 * @kernel transaction_t (include/linux/jbd2.h)
 */
export class CompoundTransaction implements JournalTransaction {
  /** Settles when all of it is durable. @throws what {@link fail} was given */
  readonly durable: Promise<void>;
  readonly blocks = new Map<number, Buffer>();
  readonly revoked = new Set<number>();
  readonly #fresh = new Set<number>();
  readonly #joined: Transaction[] = [];
  /** What the cache had before: commits under way may still need it. */
  readonly #replaced: Buffer[] = [];
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor() {
    this.durable = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever joins awaits it; with nobody waiting a failure is still no crash.
    this.durable.catch(() => {});
  }

  /** Whether the old content of a block on the media says nothing. */
  isFresh(blockNumber: number): boolean {
    return this.#fresh.has(blockNumber);
  }

  /** How many operations joined. */
  get operations(): number {
    return this.#joined.length;
  }

  /** How many blocks and revocations there are once a transaction has joined, at most. */
  sizeWith(txn: Transaction): { blocks: number; revoked: number } {
    return {
      blocks: this.blocks.size + txn.changes.size,
      revoked: this.revoked.size + txn.revoked.size,
    };
  }

  /** Takes over a sealed transaction; from now on the cache shows what it changed. */
  join(txn: Transaction, cache: BufferCache): void {
    for (const block of txn.revoked) {
      this.blocks.delete(block);
      this.#fresh.delete(block);
      this.revoked.add(block);
      cache.drop(block);
    }
    for (const [block, bytes] of txn.changes) {
      const isFresh = txn.isFresh(block);
      if (isFresh) this.#fresh.add(block);
      // A block logged in this transaction is not revoked by it.
      this.revoked.delete(block);
      this.blocks.set(block, bytes);
      const before = isFresh ? undefined : cache.get(block);
      if (before !== undefined) this.#replaced.push(before.bytes);
      cache.change(block, bytes, {
        role: txn.roleOf(block) ?? before?.role ?? 0,
        parts: before?.verifiedParts ?? 0,
      });
    }
    this.#joined.push(txn);
  }

  /** All of it is durable, and so is what was committed before: runs what waits for that. */
  settle(): void {
    reuseBlocks(this.#replaced);
    for (const txn of this.#joined) txn.runDurable();
    this.#resolve();
  }

  /** It may not be durable. */
  fail(error: unknown): void {
    this.#reject(error);
  }
}
