import type { BrokenLayout } from '../../dax/broken-layout.js';
import { assert } from '../../lib/assert.js';
import { copyBlock, newBlock } from './block-copy.js';

/** Where metadata is read from: the volume, or a transaction with its changes on top. */
export interface BlockSource {
  /**
   * The 4096 bytes of a block, to read only and within one synchronous stretch. They do not
   * change under the reader: a later change has bytes of its own. After an await their memory
   * may serve for another block.
   *
   * @throws DaxdError EUCLEAN when there is no such block
   */
  block(blockNumber: number): Buffer;
  /** Whether a block was verified as this role (see `blockRole`) since it came from the media. */
  isVerified(blockNumber: number, role: number): boolean;
  /** Remembers that the checksum and structure of a block are right for this role. */
  markVerified(blockNumber: number, role: number): void;
  /** Whether one record, 0 to 31, of a block of several was verified, such as an inode. */
  isPartVerified(blockNumber: number, part: number): boolean;
  markPartVerified(blockNumber: number, part: number): void;
}

/**
 * One operation's change of metadata: private copies of the blocks it touches, over what the
 * volume has. Nothing else sees it before `Volume.transact` takes it over; a transaction that
 * is dropped never was. It lives within one synchronous call, so what it reads cannot change.
 *
 * @kernel handle_t (include/linux/jbd2.h)
 */
export class Transaction implements BlockSource {
  /** Whether a directory changes, and so where paths lead. */
  changesNames = false;
  readonly #source: BlockSource;
  readonly #changed = new Map<number, Buffer>();
  readonly #fresh = new Set<number>();
  readonly #roles = new Map<number, number>();
  readonly #revoked = new Set<number>();
  readonly #seals = new Map<string, () => void>();
  readonly #stored: (() => void)[] = [];
  readonly #durable: (() => void)[] = [];
  readonly #layouts = new Set<BrokenLayout>();
  #state: 'open' | 'sealed' = 'open';

  constructor(source: BlockSource) {
    this.#source = source;
  }

  /** The changed blocks, by number. */
  get changes(): ReadonlyMap<number, Buffer> {
    return this.#changed;
  }

  /** Metadata blocks that were freed: what the log has of them must not come back. */
  get revoked(): ReadonlySet<number> {
    return this.#revoked;
  }

  /** The layouts whose pages this change frees. */
  get layouts(): ReadonlySet<BrokenLayout> {
    return this.#layouts;
  }

  block(blockNumber: number): Buffer {
    return this.#changed.get(blockNumber) ?? this.#source.block(blockNumber);
  }

  isVerified(blockNumber: number, role: number): boolean {
    const own = this.#roles.get(blockNumber);
    if (own !== undefined || this.#fresh.has(blockNumber)) return own === role;
    return this.#source.isVerified(blockNumber, role);
  }

  markVerified(blockNumber: number, role: number): void {
    if (this.#changed.has(blockNumber)) this.#roles.set(blockNumber, role);
    else this.#source.markVerified(blockNumber, role);
  }

  isPartVerified(blockNumber: number, part: number): boolean {
    return !this.#fresh.has(blockNumber) && this.#source.isPartVerified(blockNumber, part);
  }

  markPartVerified(blockNumber: number, part: number): void {
    // A changed copy is no proof for the block that it was made of.
    if (!this.#changed.has(blockNumber)) this.#source.markPartVerified(blockNumber, part);
  }

  /** Whether the old content of a changed block says nothing: it was not in use before. */
  isFresh(blockNumber: number): boolean {
    return this.#fresh.has(blockNumber);
  }

  /** What a changed block was verified as within this transaction; undefined for nothing new. */
  roleOf(blockNumber: number): number | undefined {
    return this.#roles.get(blockNumber);
  }

  /** The block to change: a private copy, the same one on each call. */
  modify(blockNumber: number): Buffer {
    assert(this.#state === 'open', 'a sealed transaction is not changed');
    const known = this.#changed.get(blockNumber);
    if (known !== undefined) return known;
    const copy = copyBlock(this.#source.block(blockNumber));
    this.#changed.set(blockNumber, copy);
    return copy;
  }

  /** A block whose old content does not matter: zeroed, without a read. */
  fresh(blockNumber: number): Buffer {
    assert(this.#state === 'open', 'a sealed transaction is not changed');
    const zeroed = newBlock().fill(0);
    this.#changed.set(blockNumber, zeroed);
    this.#fresh.add(blockNumber);
    this.#roles.delete(blockNumber);
    return zeroed;
  }

  /** Drops what is known of a metadata block that this transaction frees, and revokes it. */
  forget(blockNumber: number): void {
    this.#changed.delete(blockNumber);
    this.#fresh.delete(blockNumber);
    this.#roles.delete(blockNumber);
    this.#seals.delete(`block ${blockNumber}`);
    this.#revoked.add(blockNumber);
  }

  /**
   * Runs `seal` once before the commit, to write checksums over what changes many times
   * within one transaction; before those that were asked for earlier. A second call with the
   * same key does nothing. The key of a seal that goes when its block is forgotten is `block N`.
   */
  sealAtCommit(key: string, seal: () => void): void {
    if (!this.#seals.has(key)) this.#seals.set(key, seal);
  }

  /** Has `run` called in the same turn in which others come to see the change. */
  onStored(run: () => void): void {
    this.#stored.push(run);
  }

  /** Has `run` called once the change is durable; never, when that fails. */
  onDurable(run: () => void): void {
    this.#durable.push(run);
  }

  /** Has the commit check that the pages of a broken layout are still idle. */
  requireIdle(layout: BrokenLayout): void {
    this.#layouts.add(layout);
  }

  /**
   * Writes every checksum that is due, those that were asked for last first: whoever changes a
   * bitmap has the descriptor that holds its checksum. Only `Volume.transact` calls this.
   */
  seal(): void {
    for (const seal of [...this.#seals.values()].toReversed()) seal();
    this.#state = 'sealed';
  }

  /** Only `Volume.transact` calls this. */
  runStored(): void {
    for (const run of this.#stored) run();
  }

  /** Only `Volume.transact` calls this. */
  runDurable(): void {
    for (const run of this.#durable) run();
  }
}
