import { assert } from '../../lib/assert.js';
import type { Clock } from '../../lib/clock.js';
import { randomU32 } from '../../lib/random.js';
import { JournalSuperblock } from './journal-superblock.js';
import { HEADER_BYTES, JBD2_MAGIC, LOG_BLOCK_SIZE, REVOKES_MAX, TAGS_MAX } from './layout.js';
import type { LogArea } from './log-area.js';
import {
  encodeCommit,
  encodeDescriptor,
  encodeRevoke,
  escapeBlock,
  recordType,
} from './log-records.js';
import type { LoggedBlock } from './log-records.js';

/** Changed blocks that become durable together, and those whose older copies must not come back. */
export interface JournalTransaction {
  readonly blocks: ReadonlyMap<number, Buffer>;
  readonly revoked: ReadonlySet<number>;
}

/** Bytes of a commit record that are stored last, as one aligned word: its magic and type. */
const COMMIT_WORD_BYTES = 8;
const NO_WORD = Buffer.alloc(COMMIT_WORD_BYTES);

/** Blocks that may be kept in the log, see {@link Journal.keep}. */
const KEPT_MAX = 1;
/** What logging them again takes. */
const KEPT_LOG_BLOCKS = logBlocks(KEPT_MAX, 0);
/** Left free behind every transaction: for those, and the block behind whose first word is cleared. */
const SPARE_BLOCKS = KEPT_LOG_BLOCKS + 1;
/**
 * The start of the log moves after a stretch of a quarter of it, at most 4 MiB, although there is
 * room: so two stretches of it are in use and stay mapped, and not all of a large log. A move
 * costs as much as a commit or two, hence the least.
 */
const STRETCH_SHARE = 4;
const STRETCH_BLOCKS_MIN = 64;
const STRETCH_BLOCKS_MAX = 1024;
const NONE: ReadonlySet<number> = new Set();

/**
 * The log of a mounted filesystem. Transactions are appended one at a time, around its end, and
 * each is in its place on the media before the next one begins: so the log never runs full. After
 * a stretch, and where a transaction does not fit any more, the start of the log moves: back to the
 * first blocks, or up to its end where the log lies in those. That is the only change of its
 * superblock meanwhile.
 *
 * A block may be kept out of its place: then the log holds its newest copy until it stops.
 *
 *     loaded --start--> running --stop--> stopped
 */
export class Journal {
  readonly superblock: JournalSuperblock;
  readonly #area: LogArea;
  readonly #clock: Clock;
  readonly #random: () => number;
  /** Records are made here, one after the other. */
  readonly #record = Buffer.alloc(LOG_BLOCK_SIZE);
  readonly #commitRecord = Buffer.alloc(LOG_BLOCK_SIZE);
  readonly #header = Buffer.alloc(HEADER_BYTES);
  readonly #kept = new Map<number, Buffer>();
  /** Where the next transaction begins. */
  #head = 0;
  /** Blocks from the start of the log to there. */
  #used = 0;
  #sequence = 0;
  /** How often it went back to its first blocks. */
  #returns = 0;
  #state: 'loaded' | 'running' | 'stopped' = 'loaded';

  /**
   * @param random draws the sequence that a log begins with, from 0 to 2 ** 32 - 1
   * @throws DaxdError as {@link JournalSuperblock.load} does
   */
  constructor(area: LogArea, clock: Clock, random: () => number = randomU32) {
    this.superblock = JournalSuperblock.load(area);
    this.#area = area;
    this.#clock = clock;
    this.#random = random;
  }

  /** The blocks of the log. */
  get area(): LogArea {
    return this.#area;
  }

  /** The newest copies of the blocks that are not in their place. */
  get kept(): ReadonlyMap<number, Buffer> {
    return this.#kept;
  }

  /** Whether a transaction with so many blocks and revocations fits into the empty log. */
  fits(blocks: number, revoked: number): boolean {
    return logBlocks(blocks, revoked) <= this.#capacity - KEPT_LOG_BLOCKS - SPARE_BLOCKS;
  }

  /** Forgets what is in the log, durably: all of it is in its place too. @throws DaxdError EIO */
  async empty(): Promise<void> {
    assert(this.#state === 'loaded', 'a log is emptied before it runs');
    if (this.superblock.start === 0) return;
    await this.superblock.moveStart(0);
  }

  /**
   * Sees to it that the stretches of the log that take turns find room on the disk.
   *
   * @throws DaxdError ENOSPC
   */
  allocate(): void {
    const { first } = this.superblock;
    this.#area.allocate(first, Math.min(this.#capacity, 2 * Math.ceil(this.#stretch)));
  }

  /** Begins logging with an empty log. The filesystem says durably by then that it needs recovery. */
  async start(): Promise<void> {
    assert(this.#state === 'loaded' && this.superblock.start === 0, 'a log starts empty');
    this.#state = 'running';
    this.#head = this.superblock.first;
    // What is left of an older log must not look like the next transaction of this one.
    this.#sequence = this.#random();
    await this.#clearWords([0]);
    await this.superblock.begin(this.#head, this.#sequence);
  }

  /**
   * Appends a transaction; settles when it is durable. What it changes is not in its place
   * then: the caller sees to that, durably, before the next commit, or has it kept.
   *
   * @throws DaxdError EIO; then the log is not to be used any more
   * @kernel jbd2_journal_commit_transaction (fs/jbd2/commit.c)
   */
  async commit(transaction: JournalTransaction): Promise<void> {
    assert(this.#state === 'running', 'only a running log takes transactions');
    const { blocks, revoked } = transaction;
    assert(this.fits(blocks.size, revoked.size), 'a transaction fits the log');
    const length = logBlocks(blocks.size, revoked.size);
    const isFull = this.#used + length + SPARE_BLOCKS > this.#capacity;
    if (isFull || this.#used >= this.#stretch) await this.#moveStart();
    await this.#append(transaction, length);
  }

  /**
   * Says that a block which was just committed does not go to its place: it is logged again
   * before the log forgets it. Whoever recovers finds it there.
   */
  keep(home: number, bytes: Buffer): void {
    this.#kept.set(home, Buffer.from(bytes));
    assert(this.#kept.size <= KEPT_MAX, 'there is room to log again what is kept');
  }

  /** Ends the use of the log, durably empty: all is in its place by now. @throws DaxdError EIO */
  async stop(): Promise<void> {
    assert(this.#state === 'running', 'only a running log is stopped');
    this.#state = 'stopped';
    await this.superblock.moveStart(0);
  }

  get #capacity(): number {
    return this.superblock.maxLen - this.superblock.first;
  }

  get #stretch(): number {
    const share = this.#capacity / STRETCH_SHARE;
    return Math.min(STRETCH_BLOCKS_MAX, Math.max(STRETCH_BLOCKS_MIN, share));
  }

  /**
   * The log begins outside of the old one, with what is kept, and with a sequence of its own: until
   * the start has moved nobody takes that for a part of the old log, of which nothing is overwritten.
   */
  async #moveStart(): Promise<void> {
    const start = this.#nextStart();
    this.#head = start;
    this.#sequence = this.superblock.sequenceFor(start);
    const length = this.#kept.size > 0 ? logBlocks(this.#kept.size, 0) : 0;
    if (length > 0) await this.#append({ blocks: this.#kept, revoked: NONE }, length);
    else await this.#clearWords([0]);
    await this.superblock.moveStart(start);
    this.#used = length;
  }

  /**
   * Near the first block; at the head where the old log is in the way. One block further each
   * time: a log that starts where one did before has its sequence, and finds more old records
   * that could pass for its own.
   */
  #nextStart(): number {
    const { first, start } = this.superblock;
    const near = first + ((this.#returns + 1) % this.#capacity);
    const behindStart = (near - start + this.#capacity) % this.#capacity;
    const isFree = behindStart >= this.#used && behindStart + SPARE_BLOCKS <= this.#capacity;
    if (!isFree) return this.#head;
    this.#returns++;
    return near;
  }

  /**
   * The commit record goes in two steps, its first word last. A record of which only the
   * header is there would have the kernel refuse the mount.
   */
  async #append({ blocks, revoked }: JournalTransaction, length: number): Promise<void> {
    const commit = this.#commitRecord;
    const last = length - 1;
    encodeCommit(commit, this.superblock.seed, this.#sequence, this.#clock.wallMs());
    const places = recordPlaces(blocks.size, revoked.size);
    // With the same sequence, an old commit record would end the transaction before it is whole.
    if (this.#isRecord(last, this.#sequence)) places.push(last);
    await this.#clearWords(places);
    this.#writeRecords({ blocks, revoked });
    this.#area.write(this.#index(last), NO_WORD);
    await this.#persist(0, length + this.#clearNext(length));
    this.#area.write(this.#index(last), commit.subarray(COMMIT_WORD_BYTES), COMMIT_WORD_BYTES);
    await this.#persist(last, 1);
    this.#area.write(this.#index(last), commit.subarray(0, COMMIT_WORD_BYTES));
    await this.#persist(last, 1);

    this.#head = this.#index(length);
    this.#used += length;
    this.#sequence = (this.#sequence + 1) >>> 0;
  }

  /** Index of a block of the log, counted from the head on and around its end. */
  #index(place: number): number {
    const index = this.#head + place;
    return index < this.superblock.maxLen ? index : index - this.#capacity;
  }

  /** Makes `count` blocks from a place on durable. */
  async #persist(place: number, count: number): Promise<void> {
    const index = this.#index(place);
    const beforeEnd = Math.min(count, this.superblock.maxLen - index);
    await this.#area.persist(index, beforeEnd);
    if (beforeEnd < count) await this.#area.persist(this.superblock.first, count - beforeEnd);
  }

  /**
   * Takes the first word from older records, durably, before others are stored over them.
   * Torn between words, a new record over an old commit could keep that one's first word and
   * have the new sequence: a commit record without its checksum, over which the kernel
   * refuses the mount.
   */
  async #clearWords(places: readonly number[]): Promise<void> {
    const stale = places.filter((place) => this.#isRecord(place));
    if (stale.length === 0) return;
    for (const place of stale) this.#area.write(this.#index(place), NO_WORD);
    await Promise.all(stale.map((place) => this.#persist(place, 1)));
  }

  /**
   * Does the same for where the next transaction begins, to become durable with what is
   * persisted anyway; answers how many blocks more those are.
   */
  #clearNext(place: number): 0 | 1 {
    if (!this.#isRecord(place)) return 0;
    this.#area.write(this.#index(place), NO_WORD);
    return 1;
  }

  /** Whether an older record is there; with `sequence`, one that has it. */
  #isRecord(place: number, sequence?: number): boolean {
    this.#area.readInto(this.#index(place), this.#header);
    if (sequence !== undefined) return recordType(this.#header, sequence) !== undefined;
    return this.#header.readUInt32BE(0) === JBD2_MAGIC;
  }

  /** Stores all records but the commit: revocations, then each descriptor and its blocks. */
  #writeRecords({ blocks, revoked }: JournalTransaction): void {
    let place = 0;
    const { superblock } = this;
    for (const some of chunks([...revoked], REVOKES_MAX)) {
      encodeRevoke(this.#record, superblock.seed, this.#sequence, some);
      this.#area.write(this.#index(place++), this.#record);
    }
    const logged: LoggedBlock[] = [];
    for (const [home, bytes] of blocks) logged.push(escapeBlock(home, bytes));
    for (const some of chunks(logged, TAGS_MAX)) {
      encodeDescriptor(this.#record, superblock, this.#sequence, some);
      this.#area.write(this.#index(place++), this.#record);
      for (const { bytes } of some) this.#area.write(this.#index(place++), bytes);
    }
  }
}

/** Where the records of a transaction go, but for the commit, as `#writeRecords` lays them. */
function recordPlaces(blocks: number, revoked: number): number[] {
  const revokes = Math.ceil(revoked / REVOKES_MAX);
  return Array.from({ length: revokes + Math.ceil(blocks / TAGS_MAX) }, (_, i) =>
    i < revokes ? i : revokes + (i - revokes) * (TAGS_MAX + 1),
  );
}

/** Blocks of the log that a transaction takes. */
function logBlocks(blocks: number, revoked: number): number {
  return blocks + Math.ceil(blocks / TAGS_MAX) + Math.ceil(revoked / REVOKES_MAX) + 1;
}

function* chunks<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let i = 0; i < items.length; i += size) yield items.slice(i, i + size);
}
