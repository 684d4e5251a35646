import type { Layouts } from '../../dax/layouts.js';
import { assert } from '../../lib/assert.js';
import type { Clock } from '../../lib/clock.js';
import { DaxdError } from '../../lib/errno.js';
import type { Logger } from '../../lib/logger.js';
import { isAligned, PAGE_SIZE, PAGES_PER_PMD } from '../../lib/units.js';
import type { BackingRange } from '../../media/backing-range.js';
import { commitStores, persistStores } from './commit.js';
import type { Store } from './commit.js';
import { InodeGates } from './inode-gates.js';
import { BLOCK_SIZE } from './layout.js';
import { Reservations } from './reservations.js';
import type { Superblock } from './superblock.js';
import { SystemZone } from './system-zone.js';
import { Transaction } from './transaction.js';
import type { BlockSource } from './transaction.js';

/** What a {@link Volume} is made of. */
export interface VolumeOptions {
  readonly range: BackingRange;
  readonly superblock: Superblock;
  /** Why nothing may be written; empty when everything may. */
  readonly readOnlyReasons: readonly string[];
  readonly log: Logger;
  readonly clock: Clock;
  /** Needed by whatever frees or moves file blocks; mkfs does neither. */
  readonly layouts?: Layouts | undefined;
}

/**
 * An open filesystem: its blocks, its one way to change them, and what is kept in memory
 * beside them. All of it runs on one thread; what has to wait waits outside transactions.
 *
 *     open --startClosing--> closing --whenQuiet--> closed (by mount-state.ts)
 */
export class Volume implements BlockSource {
  readonly range: BackingRange;
  readonly superblock: Superblock;
  readonly log: Logger;
  readonly clock: Clock;
  readonly reservations: Reservations;
  readonly systemZone = new SystemZone();
  /** Free blocks and inodes, as the descriptors have them; reserved ones count as free. */
  readonly free = { blocks: 0, inodes: 0 };
  readonly #layouts: Layouts | undefined;
  readonly #readOnlyReasons: string[];
  readonly #gates = new InodeGates();
  /** Commits that wait for their persist. */
  readonly #inFlight = new Set<Promise<void>>();
  /** Blocks whose freeing is not durable yet: they come back by waiting. */
  #freeing = 0;
  #closing = false;

  constructor(options: VolumeOptions) {
    this.range = options.range;
    this.superblock = options.superblock;
    this.log = options.log;
    this.clock = options.clock;
    this.reservations = new Reservations(options.superblock.blocksPerGroup);
    this.#layouts = options.layouts;
    this.#readOnlyReasons = [...options.readOnlyReasons];
  }

  get readOnly(): boolean {
    return this.#readOnlyReasons.length > 0;
  }

  /** Why it is read-only, each a part of a sentence. */
  get readOnlyReasons(): readonly string[] {
    return this.#readOnlyReasons;
  }

  get layouts(): Layouts {
    assert(this.#layouts !== undefined, 'a mounted filesystem has its layouts');
    return this.#layouts;
  }

  /**
   * What a physical block is congruent to, modulo 512, when its page of the backing begins a
   * 2 MiB stretch: file data aligned that way can be mapped by large pages.
   */
  get pmdPhase(): number {
    if (!isAligned(this.range.start, PAGE_SIZE)) return 0;
    const startPage = (this.range.start / PAGE_SIZE) % PAGES_PER_PMD;
    return (PAGES_PER_PMD - startPage) % PAGES_PER_PMD;
  }

  /** @hot Once a metadata block read. */
  block(blockNumber: number): Buffer {
    this.assertBlocks(blockNumber, 1);
    const offset = blockNumber * BLOCK_SIZE;
    if (isAligned(this.range.start, BLOCK_SIZE)) return this.range.view(offset, BLOCK_SIZE);
    // On an unaligned partition a block may cross a window of the mapping.
    const copy = Buffer.allocUnsafe(BLOCK_SIZE);
    this.range.read(offset, copy);
    return copy;
  }

  /** @throws DaxdError EUCLEAN when not all of [start, start + count) are blocks of this filesystem */
  assertBlocks(start: number, count: number): void {
    if (start >= 0 && count >= 0 && start + count <= this.superblock.blocksCount) return;
    throw new DaxdError(
      'EUCLEAN',
      `blocks ${start} to ${start + count} are named, the filesystem has ${this.superblock.blocksCount}; check it with e2fsck -fn`,
    );
  }

  /** @throws DaxdError EROFS with the reasons, ESHUTDOWN once the unmount began */
  assertWritable(): void {
    if (this.readOnly) {
      throw new DaxdError('EROFS', `mounted read-only: ${this.#readOnlyReasons.join(', ')}`);
    }
    if (this.#closing) throw new DaxdError('ESHUTDOWN', 'the filesystem is being unmounted');
  }

  /**
   * Runs `body` synchronously on a new transaction and commits it: seals checksums, stores
   * to the map, persists, and settles with the body's answer once that is durable. When the
   * body throws, nothing happened. There is no journal: a power cut during the commit may
   * leave half of it.
   *
   * A body that runs out of blocks while others are on their way back is run once more when
   * they are, so it must not change anything but the transaction.
   *
   * @throws DaxdError EROFS, ESHUTDOWN, EIO when the media fail (read-only from then on),
   *   and whatever the body throws
   */
  async transact<T>(body: (txn: Transaction) => T): Promise<T> {
    try {
      return await this.#commit(body);
    } catch (error) {
      if (!isOutOfSpace(error) || !(await this.freedBlocksReturned())) throw error;
      return await this.#commit(body);
    }
  }

  /**
   * Runs `run` when nothing else does for that inode, in order of arrival: whatever reads a
   * file's extents, waits, and relies on them afterwards. Never awaited inside of itself for
   * the same inode, and never around a wait for pinned pages.
   */
  async withInode<T>(inode: number, run: () => Promise<T>): Promise<T> {
    return await this.#gates.run(inode, run);
  }

  /** Keeps freed blocks from being used until the transaction that frees them is durable. */
  holdFreed(txn: Transaction, start: number, count: number): void {
    txn.onStored(() => {
      this.reservations.add(start, count);
      this.#freeing += count;
    });
    txn.onDurable(() => {
      this.reservations.remove(start, count);
      this.#freeing -= count;
    });
  }

  /**
   * Waits for the commits under way when one of them frees blocks; false, at once, when
   * none does: no block comes back by waiting.
   */
  async freedBlocksReturned(): Promise<boolean> {
    if (this.#freeing === 0) return false;
    await Promise.allSettled(this.#inFlight);
    return true;
  }

  /** Stores file data. Durable only after {@link persist}. @throws DaxdError EIO when the backing shrank */
  storeData(offset: number, data: Uint8Array): void {
    assert(!this.readOnly, 'nothing is stored to a read-only filesystem');
    this.range.write(offset, data);
  }

  /** Sets bytes of file data to zero. Durable only after {@link persist}. */
  zeroData(offset: number, length: number): void {
    assert(!this.readOnly, 'nothing is stored to a read-only filesystem');
    this.range.fill(offset, length, 0);
  }

  /** Makes the stores to these bytes durable; read-only from then on when that fails. */
  async persist(offset: number, length: number): Promise<void> {
    try {
      await this.range.persist(offset, length);
    } catch (error) {
      this.#fail('persisting to the media failed');
      throw error;
    }
  }

  /** Refuses changes from now on. */
  startClosing(): void {
    this.#closing = true;
  }

  /** Settles when no commit and no gate is under way. */
  async whenQuiet(): Promise<void> {
    await this.#gates.whenIdle();
    await Promise.allSettled(this.#inFlight);
  }

  async #commit<T>(body: (txn: Transaction) => T): Promise<T> {
    this.assertWritable();
    const txn = new Transaction(this);
    const result = body(txn);
    txn.seal();
    for (const layout of txn.layouts) layout.assertIdle();
    // Stores past the end of a file that shrank would end the process with SIGBUS.
    this.range.backing.checkSize();

    const stores = commitStores(this, txn);
    txn.runStored();
    const durable = this.#makeDurable(txn, stores);
    this.#inFlight.add(durable);
    try {
      await durable;
    } finally {
      this.#inFlight.delete(durable);
    }
    return result;
  }

  async #makeDurable(txn: Transaction, stores: readonly Store[]): Promise<void> {
    try {
      await persistStores(this.range, stores);
    } catch (error) {
      this.#fail('persisting metadata to the media failed');
      throw error;
    }
    txn.runDurable();
  }

  /** From here on what the media hold is not known: only reading goes on. */
  #fail(reason: string): void {
    if (!this.readOnly) {
      this.log.error({ reason }, 'filesystem is read-only from now on; run e2fsck -fy');
    }
    if (!this.#readOnlyReasons.includes(reason)) this.#readOnlyReasons.push(reason);
  }
}

function isOutOfSpace(error: unknown): boolean {
  return error instanceof DaxdError && error.code === 'ENOSPC';
}
