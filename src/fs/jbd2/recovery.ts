import { crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { checksumMismatch, damaged } from '../damage.js';
import { BlockType, JBD2_MAGIC, REVOKE_COUNT, REVOKE_HEADER_BYTES, TAIL_OFFSET } from './layout.js';
import type { JournalSuperblock } from './journal-superblock.js';
import type { LogArea } from './log-area.js';
import {
  blockSeed,
  decodeDescriptor,
  decodeRevoke,
  isCommit,
  isTailSealed,
  recordType,
} from './log-records.js';

/** A block of the log that belongs somewhere else. */
interface LoggedCopy {
  readonly index: number;
  readonly escaped: boolean;
}

/** What a log holds that may not be in its place yet. */
export interface ReplayPlan {
  /** Newest copy of each block, by the block's number. */
  readonly homes: ReadonlyMap<number, LoggedCopy>;
  readonly transactions: number;
}

/** Records of one transaction, in the order of the log. */
interface ScannedTransaction {
  readonly copies: { readonly home: number; readonly copy: LoggedCopy }[];
  /** Log blocks with revocations: the numbers in them are far more, and mean nothing before the commit. */
  readonly revokes: number[];
  /** Of the first block whose content is not what its tag says. */
  damagedIndex: number | undefined;
}

/**
 * Reads a log from its start to the last transaction that was committed whole, and says what
 * is to be copied where. Stores nothing. A block that a later transaction, or the same one,
 * revoked is left out: it may hold file data by now.
 *
 * @param isHome whether a block may be replayed: on the partition, and not of the log itself
 * @throws DaxdError EBADMSG for a committed transaction that is damaged, EUCLEAN for one that
 *   belongs to no block of the filesystem
 * @kernel jbd2_journal_recover, do_one_pass (fs/jbd2/recovery.c)
 */
export function planReplay(
  area: LogArea,
  superblock: JournalSuperblock,
  isHome: (block: number) => boolean,
): ReplayPlan {
  const scan = new LogScan(area, superblock);
  const transactions = scan.transactions();
  const homes = new Map<number, LoggedCopy>();
  for (const { copies, revokes } of transactions) {
    for (const { home, copy } of copies) {
      if (!isHome(home)) throw damaged(`journal: block ${home} is logged`);
      homes.set(home, copy);
    }
    // In order, so that a block logged again after its revocation comes back.
    for (const index of revokes) {
      if (homes.size === 0) break;
      for (const block of readRevoke(area, index, superblock.is64)) homes.delete(block);
    }
  }
  return { homes, transactions: transactions.length };
}

/** The content of a logged block as it belongs in its place. */
export function readLogged(area: LogArea, { index, escaped }: LoggedCopy): Buffer {
  const bytes = area.read(index);
  if (escaped) bytes.writeUInt32BE(JBD2_MAGIC, 0);
  return bytes;
}

/** One walk through a log. It ends: no walk reads more blocks than the log has. */
class LogScan {
  readonly #area: LogArea;
  readonly #superblock: JournalSuperblock;
  readonly #seed: number;
  #index: number;
  #left: number;

  constructor(area: LogArea, superblock: JournalSuperblock) {
    this.#area = area;
    this.#superblock = superblock;
    this.#seed = superblock.seed;
    this.#index = superblock.start;
    this.#left = superblock.maxLen - superblock.first;
  }

  transactions(): ScannedTransaction[] {
    const found: ScannedTransaction[] = [];
    if (this.#superblock.start === 0) return found;
    for (;;) {
      const sequence = (this.#superblock.sequence + found.length) >>> 0;
      const transaction = this.#transaction(sequence);
      if (transaction === undefined) return found;
      found.push(transaction);
    }
  }

  /** The transaction that starts here; undefined when it was not committed. */
  #transaction(sequence: number): ScannedTransaction | undefined {
    const transaction: ScannedTransaction = { copies: [], revokes: [], damagedIndex: undefined };
    while (this.#left > 0) {
      const at = this.#index;
      const record = this.#next();
      const type = recordType(record, sequence);
      if (type === BlockType.Commit) {
        if (!isCommit(record, this.#seed, sequence)) return this.#endOfLog(at, sequence);
        if (transaction.damagedIndex === undefined) return transaction;
        throw damagedTransaction(sequence, transaction.damagedIndex);
      }
      if (type !== BlockType.Descriptor && type !== BlockType.Revoke) return undefined;
      if (!isTailSealed(record, this.#seed)) return this.#endOfLog(at, sequence);
      if (type === BlockType.Descriptor) this.#takeCopies(transaction, record, sequence);
      else transaction.revokes.push(at);
    }
    return undefined;
  }

  #takeCopies(transaction: ScannedTransaction, descriptor: Buffer, sequence: number): void {
    const seed = blockSeed(this.#seed, sequence);
    for (const { home, escaped, checksum } of decodeDescriptor(descriptor, this.#superblock.is64)) {
      if (this.#left === 0) return;
      const index = this.#index;
      const isWhole = crc32c(seed, this.#next()) === checksum;
      // A transaction that was never committed may have any copy torn: that is no damage.
      if (!isWhole) transaction.damagedIndex ??= index;
      transaction.copies.push({ home, copy: { index, escaped } });
    }
  }

  /**
   * A torn record ends the log where nothing committed comes after it: that transaction was
   * being written. Otherwise a transaction that somebody relies on is damaged.
   */
  #endOfLog(index: number, sequence: number): undefined {
    const next = (sequence + 1) >>> 0;
    while (this.#left > 0) {
      const block = this.#next();
      if (isCommit(block, this.#seed, sequence) || isCommit(block, this.#seed, next)) {
        throw damagedTransaction(sequence, index);
      }
    }
    return undefined;
  }

  #next(): Buffer {
    const block = this.#area.read(this.#index);
    const { first, maxLen } = this.#superblock;
    this.#index = this.#index + 1 < maxLen ? this.#index + 1 : first;
    this.#left--;
    return block;
  }
}

/** The numbers in a revoke record of a committed transaction. @throws DaxdError EUCLEAN */
function readRevoke(area: LogArea, index: number, is64: boolean): number[] {
  const record = area.read(index);
  const bytes = record.readUInt32BE(REVOKE_COUNT);
  if (bytes < REVOKE_HEADER_BYTES || bytes > TAIL_OFFSET) {
    throw damaged(`journal: a revoke record of ${bytes} bytes`);
  }
  return decodeRevoke(record, is64);
}

function damagedTransaction(sequence: number, index: number): DaxdError {
  return checksumMismatch(`journal transaction ${sequence}, block ${index} of the log`);
}
