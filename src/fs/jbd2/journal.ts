import { assert } from '../../lib/assert.js';
import type { Clock } from '../../lib/clock.js';
import { JournalSuperblock } from './journal-superblock.js';
import { JBD2_MAGIC, LOG_BLOCK_SIZE, REVOKES_MAX, TAGS_MAX } from './layout.js';
import type { LogArea } from './log-area.js';
import { encodeCommit, encodeDescriptor, encodeRevoke, escapeBlock } from './log-records.js';
import type { LoggedBlock } from './log-records.js';

/** Changed blocks that become durable together, and those whose older copies must not come back. */
export interface JournalTransaction {
  readonly blocks: ReadonlyMap<number, Buffer>;
  readonly revoked: ReadonlySet<number>;
}

/** Bytes of a commit record that are stored last, as one aligned word: its magic and type. */
const COMMIT_WORD_BYTES = 8;
const NO_WORD = Buffer.alloc(COMMIT_WORD_BYTES);

/**
 * The log of a mounted filesystem. Transactions are appended one at a time, and each is in
 * its place on the media before the next one begins: so the log never runs full, it is
 * started anew at its first block when a transaction does not fit behind the last one, and
 * its superblock is not touched in between.
 *
 *     loaded --start--> running --stop--> stopped
 */
export class Journal {
  readonly superblock: JournalSuperblock;
  readonly #area: LogArea;
  readonly #clock: Clock;
  /** Records are made here, one after the other. */
  readonly #record = Buffer.alloc(LOG_BLOCK_SIZE);
  readonly #commitRecord = Buffer.alloc(LOG_BLOCK_SIZE);
  readonly #firstWord = Buffer.alloc(COMMIT_WORD_BYTES);
  #head = 0;
  #sequence: number;
  #state: 'loaded' | 'running' | 'stopped' = 'loaded';

  /** @throws DaxdError as {@link JournalSuperblock.load} does */
  constructor(area: LogArea, clock: Clock) {
    this.superblock = JournalSuperblock.load(area);
    this.#area = area;
    this.#clock = clock;
    this.#sequence = this.superblock.sequence;
  }

  /** The blocks of the log. */
  get area(): LogArea {
    return this.#area;
  }

  /** Whether a transaction with so many blocks and revocations fits into the empty log. */
  fits(blocks: number, revoked: number): boolean {
    const { maxLen, first } = this.superblock;
    return logBlocks(blocks, revoked) <= maxLen - first;
  }

  /** Forgets what is in the log, durably: all of it is in its place too. @throws DaxdError EIO */
  async empty(): Promise<void> {
    assert(this.#state === 'loaded', 'a log is emptied before it runs');
    if (this.superblock.start === 0) return;
    await this.superblock.update({ start: 0, sequence: this.#sequence });
  }

  /** Begins logging with an empty log. The filesystem says durably by then that it needs recovery. */
  async start(): Promise<void> {
    assert(this.#state === 'loaded' && this.superblock.start === 0, 'a log starts empty');
    this.#state = 'running';
    await this.#restart();
  }

  /**
   * Appends a transaction; settles when it is durable. What it changes is not in its place
   * then: the caller sees to that, durably, before the next commit.
   *
   * The commit record goes in two steps, its first word last. A record of which only the
   * header is there would have the kernel refuse the mount.
   *
   * @throws DaxdError EIO; then the log is not to be used any more
   * @kernel jbd2_journal_commit_transaction (fs/jbd2/commit.c)
   */
  async commit({ blocks, revoked }: JournalTransaction): Promise<void> {
    assert(this.#state === 'running', 'only a running log takes transactions');
    const length = logBlocks(blocks.size, revoked.size);
    assert(this.fits(blocks.size, revoked.size), 'a transaction fits the log');
    if (this.#head + length > this.superblock.maxLen) await this.#restart();

    const first = this.#head;
    const commitIndex = first + length - 1;
    const commit = this.#commitRecord;
    encodeCommit(commit, this.superblock.seed, this.#sequence, this.#clock.wallMs());
    await this.#clearWords(recordIndexes(first, blocks.size, revoked.size));
    this.#writeRecords({ blocks, revoked });
    this.#area.write(commitIndex, NO_WORD);
    await this.#area.persist(first, length + this.#clearNext(first + length));
    this.#area.write(commitIndex, commit.subarray(COMMIT_WORD_BYTES), COMMIT_WORD_BYTES);
    await this.#area.persist(commitIndex, 1);
    this.#area.write(commitIndex, commit.subarray(0, COMMIT_WORD_BYTES));
    await this.#area.persist(commitIndex, 1);

    this.#head = first + length;
    this.#sequence = (this.#sequence + 1) >>> 0;
  }

  /** Ends the use of the log, durably empty. @throws DaxdError EIO */
  async stop(): Promise<void> {
    assert(this.#state === 'running', 'only a running log is stopped');
    this.#state = 'stopped';
    await this.superblock.update({ start: 0, sequence: this.#sequence });
  }

  async #restart(): Promise<void> {
    const { first } = this.superblock;
    // All of the old log is in its place: without its first record it is an empty one.
    await this.#clearWords([first]);
    await this.superblock.update({ start: first, sequence: this.#sequence });
    this.#head = first;
  }

  /**
   * Takes the first word from older records, durably, before others are stored over them.
   * Torn between words, a new record over an old commit could keep that one's first word and
   * have the new sequence: a commit record without its checksum, over which the kernel
   * refuses the mount.
   */
  async #clearWords(indexes: readonly number[]): Promise<void> {
    const stale = indexes.filter((index) => this.#isRecord(index));
    if (stale.length === 0) return;
    for (const index of stale) this.#area.write(index, NO_WORD);
    await Promise.all(stale.map((index) => this.#area.persist(index, 1)));
  }

  /**
   * Does the same for where the next transaction begins, to become durable with what is
   * persisted anyway; answers how many blocks more those are.
   */
  #clearNext(index: number): 0 | 1 {
    if (index >= this.superblock.maxLen || !this.#isRecord(index)) return 0;
    this.#area.write(index, NO_WORD);
    return 1;
  }

  #isRecord(index: number): boolean {
    this.#area.readInto(index, this.#firstWord);
    return this.#firstWord.readUInt32BE(0) === JBD2_MAGIC;
  }

  /** Stores all records but the commit: revocations, then each descriptor and its blocks. */
  #writeRecords({ blocks, revoked }: JournalTransaction): void {
    let index = this.#head;
    const { superblock } = this;
    for (const some of chunks([...revoked], REVOKES_MAX)) {
      encodeRevoke(this.#record, superblock.seed, this.#sequence, some);
      this.#area.write(index++, this.#record);
    }
    const logged: LoggedBlock[] = [];
    for (const [home, bytes] of blocks) logged.push(escapeBlock(home, bytes));
    for (const some of chunks(logged, TAGS_MAX)) {
      encodeDescriptor(this.#record, superblock, this.#sequence, some);
      this.#area.write(index++, this.#record);
      for (const { bytes } of some) this.#area.write(index++, bytes);
    }
  }
}

/** Where the records of a transaction go, but for the commit, as `#writeRecords` lays them. */
function recordIndexes(first: number, blocks: number, revoked: number): number[] {
  const revokes = Math.ceil(revoked / REVOKES_MAX);
  return Array.from({ length: revokes + Math.ceil(blocks / TAGS_MAX) }, (_, i) =>
    i < revokes ? first + i : first + revokes + (i - revokes) * (TAGS_MAX + 1),
  );
}

/** Blocks of the log that a transaction takes. */
function logBlocks(blocks: number, revoked: number): number {
  return blocks + Math.ceil(blocks / TAGS_MAX) + Math.ceil(revoked / REVOKES_MAX) + 1;
}

function* chunks<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let i = 0; i < items.length; i += size) yield items.slice(i, i + size);
}
