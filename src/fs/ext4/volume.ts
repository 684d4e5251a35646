import type { Layouts } from '../../dax/layouts.js';
import { assert } from '../../lib/assert.js';
import type { Clock } from '../../lib/clock.js';
import { DaxdError } from '../../lib/errno.js';
import type { Logger } from '../../lib/logger.js';
import { isAligned, PAGE_SIZE, PAGES_PER_PMD } from '../../lib/units.js';
import type { BackingRange } from '../../media/backing-range.js';
import type { BlockRun } from '../block-run.js';
import { damaged } from '../damage.js';
import type { Journal } from '../jbd2/journal.js';
import { newBlock } from './block-copy.js';
import { BufferCache } from './buffer-cache.js';
import { Commits } from './commits.js';
import type { CommitCounters } from './commits.js';
import { DamagedGroups } from './damaged-groups.js';
import { InodeGates } from './inode-gates.js';
import { BLOCK_SIZE } from './layout.js';
import { OpenFiles } from './open-files.js';
import { OrphanLinks } from './orphan-links.js';
import { PathCache } from './path-cache.js';
import { QuarantineState } from './quarantine-state.js';
import { Reservations } from './reservations.js';
import type { Superblock } from './superblock.js';
import { SystemZone } from './system-zone.js';
import { Transaction } from './transaction.js';
import type { BlockSource } from './transaction.js';
import { whenSpace } from './when-space.js';

/** What a {@link Volume} is made of. */
export interface VolumeOptions {
  readonly range: BackingRange;
  readonly superblock: Superblock;
  /** Why nothing may be written; empty when everything may. */
  readonly readOnlyReasons: readonly string[];
  readonly log: Logger;
  readonly clock: Clock;
  readonly layouts: Layouts;
  /** Draws the sequence that the log begins with, from 0 to 2 ** 32 - 1; tests hold it still. */
  readonly random?: () => number;
}

/** Where an operation stands when it changes something. */
export interface ChangeStage {
  /** It has begun, holds its inode and must not end half way: the unmount waits for it. */
  readonly isUnderWay?: boolean;
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
  readonly random: (() => number) | undefined;
  readonly reservations: Reservations;
  readonly systemZone = new SystemZone();
  /** Free blocks and inodes, as the descriptors have them; reserved ones count as free. */
  readonly free = { blocks: 0, inodes: 0 };
  /** Whose blocks, or inodes, are not taken. */
  readonly damaged: { readonly blocks: DamagedGroups; readonly inodes: DamagedGroups };
  /** Which files are open, and which are kept without a name. */
  readonly openFiles = new OpenFiles();
  /** What is known of the order of the list of orphans. */
  readonly orphanLinks = new OrphanLinks();
  /** Where paths led, as long as no directory changed. */
  readonly paths = new PathCache();
  readonly layouts: Layouts;
  /** Blocks that left their files while they were pinned. */
  readonly quarantine: QuarantineState;
  /** First block of each group's inode table, which never moves; 0 until it is looked up. */
  readonly inodeTables: Float64Array;
  /** What is known of the media, with all changes that were made. */
  readonly cache: BufferCache;
  /** Blocks, also of files, that the log replaces in the cache alone: the media may not change. */
  readonly replayed = new Set<number>();
  readonly #readOnlyReasons: string[];
  #refusal: () => string | undefined = () => undefined;
  readonly #gates = new InodeGates();
  readonly #commits: Commits;
  /** Blocks whose freeing is not durable yet: they come back by waiting. */
  #freeing = 0;
  #closing = false;
  #failure: string | undefined;

  constructor(options: VolumeOptions) {
    this.range = options.range;
    this.superblock = options.superblock;
    this.log = options.log;
    this.clock = options.clock;
    this.random = options.random;
    this.layouts = options.layouts;
    const { log } = options;
    this.damaged = { blocks: new DamagedGroups(log), inodes: new DamagedGroups(log) };
    this.quarantine = new QuarantineState(options.range, options.log);
    this.reservations = new Reservations(options.superblock);
    this.#readOnlyReasons = [...options.readOnlyReasons];
    this.inodeTables = new Float64Array(options.superblock.groupCount);
    this.cache = new BufferCache((blockNumber) => this.#load(blockNumber));
    this.#commits = new Commits({
      range: options.range,
      cache: this.cache,
      clock: options.clock,
      onFailure: (reason) => {
        this.#fail(reason);
      },
    });
  }

  get readOnly(): boolean {
    return this.#readOnlyReasons.length > 0 || this.#refusal() !== undefined;
  }

  /** What was committed since the mount. */
  get commitCounters(): CommitCounters {
    return this.#commits;
  }

  /** What went wrong with the media; undefined while nothing did. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Why it is read-only, each a part of a sentence. */
  get readOnlyReasons(): readonly string[] {
    const refusal = this.#refusal();
    return refusal === undefined ? this.#readOnlyReasons : [...this.#readOnlyReasons, refusal];
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
    return this.cache.get(blockNumber).bytes;
  }

  isVerified(blockNumber: number, role: number): boolean {
    return this.cache.get(blockNumber).role === role;
  }

  markVerified(blockNumber: number, role: number): void {
    this.cache.get(blockNumber).role = role;
  }

  isPartVerified(blockNumber: number, part: number): boolean {
    return (this.cache.get(blockNumber).verifiedParts & (1 << part)) !== 0;
  }

  markPartVerified(blockNumber: number, part: number): void {
    this.cache.get(blockNumber).verifiedParts |= 1 << part;
  }

  /**
   * @param what the structure that lies there, or that names them
   * @throws DaxdError EUCLEAN when not all of [start, start + count) are blocks of this filesystem
   */
  assertBlocks(start: number, count: number, what = 'metadata'): void {
    if (start >= 0 && count >= 0 && start + count <= this.superblock.blocksCount) return;
    throw damaged(
      `${what}: blocks ${start} to ${start + count} are named, the filesystem has ${this.superblock.blocksCount}`,
    );
  }

  /**
   * @throws DaxdError EROFS with the reasons, ESHUTDOWN once the unmount began
   */
  assertWritable({ isUnderWay = false }: ChangeStage = {}): void {
    if (this.readOnly) {
      throw new DaxdError('EROFS', `mounted read-only: ${this.readOnlyReasons.join(', ')}`);
    }
    if (this.#closing && !isUnderWay) {
      throw new DaxdError('ESHUTDOWN', 'the filesystem is being unmounted');
    }
  }

  /** Makes it read-only for a reason that is a part of a sentence. */
  refuseChanges(reason: string): void {
    this.#readOnlyReasons.push(reason);
  }

  /** Makes it read-only while a reason is given, which is a part of a sentence. */
  refuseChangesWhile(reason: () => string | undefined): void {
    this.#refusal = reason;
  }

  /** Changed blocks that one transaction may have: what needs more is done in pieces. */
  get transactionBlocksMax(): number {
    return this.#commits.transactionBlocksMax;
  }

  /** From now on changes go through a journal, which runs. */
  useJournal(journal: Journal): void {
    this.#commits.useJournal(journal);
  }

  /** Empties the journal, durably, once nothing changes any more. @throws DaxdError EIO */
  async stopJournal(): Promise<void> {
    assert(this.#closing, 'the journal stops when nothing changes any more');
    await this.#commits.stopJournal();
  }

  /**
   * Runs `body` synchronously on a new transaction, and settles with the body's answer once
   * the transaction is durable, together with those of other operations that arrived
   * meanwhile. When the body throws, nothing happened; after a power cut all of it happened or
   * nothing. On a filesystem without a journal half of it may have.
   *
   * A body that finds the log full, or runs out of blocks while others are on their way back,
   * is run once more when they are: it must not change anything but the transaction.
   *
   * @throws DaxdError EROFS, ESHUTDOWN, EFBIG for more than {@link transactionBlocksMax}, EIO
   *   when the media fail (read-only from then on), and whatever the body throws
   */
  async transact<T>(body: (txn: Transaction) => T, stage: ChangeStage = {}): Promise<T> {
    return await whenSpace(this, async () => await this.#transact(body, stage));
  }

  /**
   * Runs `run` when nothing else does for that inode, in order of arrival: whatever reads a
   * file's extents, waits, and relies on them afterwards. Never awaited inside of itself for
   * the same inode, and never around a wait for pinned pages.
   */
  async withInode<T>(inode: number, run: () => Promise<T>): Promise<T> {
    return await this.#gates.run(inode, run);
  }

  /** Whether {@link withInode} would have to wait. */
  isInodeBusy(inode: number): boolean {
    return this.#gates.isBusy(inode);
  }

  /** Keeps freed blocks from being used until the transaction that frees them is durable. */
  holdFreed(txn: Transaction, run: BlockRun): void {
    txn.onStored(() => {
      this.reservations.add(run);
      this.#freeing += run.count;
    });
    txn.onDurable(() => {
      this.reservations.remove(run);
      this.#freeing -= run.count;
    });
  }

  /** Settles when all that reads see now is durable; undefined where it is. @throws DaxdError EIO */
  whenDurable(): Promise<void> | undefined {
    return this.#commits.whenDurable();
  }

  /**
   * Waits for the commits under way when one of them frees blocks; false, at once, when
   * none does: no block comes back by waiting.
   */
  async freedBlocksReturned(): Promise<boolean> {
    if (this.#freeing === 0) return false;
    await this.#commits.whenDone();
    return true;
  }

  /**
   * Stores file data. Durable only after {@link persist}.
   *
   * @throws DaxdError EIO when the backing shrank, EROFS when the media have failed meanwhile
   */
  storeData(offset: number, data: Uint8Array): void {
    this.assertWritable({ isUnderWay: true });
    this.range.write(offset, data);
  }

  /** Sets bytes of file data to zero. Durable only after {@link persist}. @throws as {@link storeData} */
  zeroData(offset: number, length: number): void {
    this.assertWritable({ isUnderWay: true });
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
    await this.#commits.whenDone();
  }

  async #transact<T>(body: (txn: Transaction) => T, stage: ChangeStage): Promise<T> {
    for (;;) {
      this.assertWritable(stage);
      const txn = new Transaction(this);
      const result = body(txn);
      txn.seal();
      if (!this.#commits.hasRoom(txn)) {
        await this.#commits.whenDone();
        continue;
      }
      for (const layout of txn.layouts) layout.assertIdle();
      this.#allocateHomes(txn);
      const durable = this.#commits.join(txn);
      txn.runStored();
      if (txn.changesNames) this.paths.clear();
      await durable;
      return result;
    }
  }

  /** Where there is no room for its blocks an operation is refused, and the others go on. */
  #allocateHomes({ changes }: Transaction): void {
    if (!this.range.backing.sparse) return;
    for (const block of changes.keys()) this.range.allocate(block * BLOCK_SIZE, BLOCK_SIZE);
  }

  #load(blockNumber: number): Buffer {
    this.assertBlocks(blockNumber, 1);
    const copy = newBlock();
    this.range.read(blockNumber * BLOCK_SIZE, copy);
    return copy;
  }

  /** From here on what the media hold is not known: only reading goes on. */
  #fail(reason: string): void {
    this.paths.clear();
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    this.#readOnlyReasons.push(reason);
    this.log.error(
      { label: this.superblock.label, reason },
      'filesystem is read-only from now on: find out what is wrong with the media, then mount it again',
    );
  }
}
