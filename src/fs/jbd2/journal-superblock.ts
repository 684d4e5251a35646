import { assert } from '../../lib/assert.js';
import { crc32c, CRC_INIT } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import { UUID_BYTES } from '../../lib/uuid.js';
import { checksumMismatch, damaged } from '../damage.js';
import { featureNames } from '../feature-names.js';
import type { FeatureWord } from '../feature-names.js';
import { solveWord } from './checksum-word.js';
import {
  BlockType,
  HeaderField,
  JBD2_MAGIC,
  JOURNAL_CHECKSUM_CRC32C,
  JOURNAL_COMPAT_CHECKSUM,
  JOURNAL_INCOMPAT,
  JournalIncompat,
  JSB_BYTES,
  JsbField,
  LOG_BLOCK_SIZE,
} from './layout.js';
import type { LogArea } from './log-area.js';
import type { JournalIdentity } from './log-records.js';

/** What is stored at once: an aligned word reaches persistent memory whole or not at all. */
const WORD_BYTES = 8;
/** The words with the compatible features, with the others, with the type of the checksums, and with this one's checksum. */
const COMPAT_WORD = JsbField.Errno;
const FEATURES_WORD = JsbField.FeatureIncompat;
const CHECKSUM_TYPE_WORD = JsbField.ChecksumType;
const CHECKSUM_WORD = JsbField.Checksum - 4;
/** The word with the sequence and the start. */
const START_WORD = JsbField.Sequence;
/** With either one its superblock has a checksum. */
const CHECKSUMS = JournalIncompat.CsumV2 | JournalIncompat.CsumV3;
const KNOWN_INCOMPAT =
  JOURNAL_INCOMPAT | CHECKSUMS | JournalIncompat.AsyncCommit | JournalIncompat.FastCommit;
const INCOMPAT: FeatureWord = {
  letter: 'I',
  names: {
    0: 'journal_incompat_revoke',
    1: 'journal_64bit',
    2: 'journal_async_commit',
    3: 'journal_checksum_v2',
    4: 'journal_checksum_v3',
    5: 'fast_commit',
  },
};
const RO_COMPAT: FeatureWord = { letter: 'R', names: {} };

/**
 * The journal's superblock, block 0 of the log: where the log starts and with which
 * transaction. Its checksum lies in another cache line than its fields, and over a torn one the
 * kernel refuses the mount. So each store is one aligned word, after which it is right: the log
 * moves its start together with a sequence that leaves the checksum as it is, and what needs
 * another checksum happens while the features say that there is none.
 *
 * @kernel struct journal_superblock_s (include/linux/jbd2.h)
 */
export class JournalSuperblock implements JournalIdentity {
  readonly seed: number;
  readonly #area: LogArea;
  readonly #bytes: Buffer;

  private constructor(area: LogArea, bytes: Buffer) {
    this.#area = area;
    this.#bytes = bytes;
    this.seed = crc32c(CRC_INIT, this.uuid);
  }

  /**
   * Reads and checks it. Of a log that is not empty, daxd must be able to replay what its features say.
   *
   * @throws DaxdError EBADMSG for its checksum, EUCLEAN for fields that do not fit the log,
   *   EOPNOTSUPP for features
   * @kernel journal_get_superblock, journal_load_superblock (fs/jbd2/journal.c)
   */
  static load(area: LogArea): JournalSuperblock {
    if (area.blocks === 0) throw damaged('the journal has no blocks');
    const bytes = area.read(0).subarray(0, JSB_BYTES);
    if (!isJournalSuperblock(bytes)) throw damaged('journal superblock: there is none');
    if (!isSealed(bytes)) throw checksumMismatch('journal superblock');
    const superblock = new JournalSuperblock(area, bytes);
    superblock.#check();
    return superblock;
  }

  get uuid(): Buffer {
    return this.#bytes.subarray(JsbField.Uuid, JsbField.Uuid + UUID_BYTES);
  }

  /** Whether the numbers of blocks in its records have 64 bits: in all that daxd writes they do. */
  get is64(): boolean {
    return (this.#bytes.readUInt32BE(JsbField.FeatureIncompat) & JournalIncompat.Bit64) !== 0;
  }

  /** Blocks of the log, this one included. */
  get maxLen(): number {
    return this.#bytes.readUInt32BE(JsbField.MaxLen);
  }

  /** First block that holds log. */
  get first(): number {
    return this.#bytes.readUInt32BE(JsbField.First);
  }

  /** Block of the oldest transaction that is not in its place yet; 0 for an empty log. */
  get start(): number {
    return this.#bytes.readUInt32BE(JsbField.Start);
  }

  /** Whether a kernel gave up on it after an error, which the filesystem's superblock may not say yet. */
  get isAborted(): boolean {
    return this.#bytes.readUInt32BE(JsbField.Errno) !== 0;
  }

  /** Number of that transaction, or of the next one. */
  get sequence(): number {
    return this.#bytes.readUInt32BE(JsbField.Sequence);
  }

  /**
   * The sequence with which a log that starts there has the same checksum. Any sequence will do:
   * it is compared within one log alone.
   */
  sequenceFor(start: number): number {
    const bytes = Buffer.from(this.#bytes);
    bytes.writeUInt32BE(start, JsbField.Start);
    return solveWord((sequence) => {
      bytes.writeUInt32BE(sequence, JsbField.Sequence);
      return checksum(bytes);
    }, bytes.readUInt32BE(JsbField.Checksum));
  }

  /**
   * Moves the start of the log, durably and at once; to 0 for an empty one. The transaction
   * there has the sequence that {@link sequenceFor} says.
   *
   * @throws DaxdError EIO
   */
  async moveStart(start: number): Promise<void> {
    this.#setStart(start, this.sequenceFor(start));
    assert(isSealed(this.#bytes), 'the sequence leaves the checksum as it is');
    await this.#store(START_WORD);
  }

  /**
   * Begins an empty log, durably, with the features that daxd writes by, and no others: where fast
   * commits had blocks of their own, the log has them. It stays empty, and whole for everybody, at
   * each step: without the feature nobody looks at the checksum.
   *
   * @throws DaxdError EIO
   * @kernel set_journal_csum_feature_set (fs/ext4/super.c)
   */
  async begin(start: number, sequence: number): Promise<void> {
    const bytes = this.#bytes;
    assert(this.start === 0, 'an empty log is begun');
    const incompat = bytes.readUInt32BE(JsbField.FeatureIncompat);
    const plain = incompat & JOURNAL_INCOMPAT & ~CHECKSUMS;
    if (incompat !== plain) {
      bytes.writeUInt32BE(plain, JsbField.FeatureIncompat);
      await this.#store(FEATURES_WORD);
    }
    // What `mount -o journal_checksum` left. Beside a checksum of its own the kernel refuses it.
    if (hasOldChecksum(bytes)) {
      const compat = bytes.readUInt32BE(JsbField.FeatureCompat);
      bytes.writeUInt32BE((compat & ~JOURNAL_COMPAT_CHECKSUM) >>> 0, JsbField.FeatureCompat);
      await this.#store(COMPAT_WORD);
    }
    // The checksum of what it will be in the end.
    this.#setStart(start, sequence);
    bytes.writeUInt32BE(JOURNAL_INCOMPAT, JsbField.FeatureIncompat);
    bytes.writeUInt8(JOURNAL_CHECKSUM_CRC32C, JsbField.ChecksumType);
    bytes.writeUInt32BE(checksum(bytes), JsbField.Checksum);
    await this.#store(CHECKSUM_TYPE_WORD);
    await this.#store(CHECKSUM_WORD);
    await this.moveStart(0);
    await this.#store(FEATURES_WORD);
    await this.moveStart(start);
    assert(this.sequence === sequence, 'one sequence fits a checksum');
  }

  #setStart(start: number, sequence: number): void {
    this.#bytes.writeUInt32BE(start, JsbField.Start);
    this.#bytes.writeUInt32BE(sequence, JsbField.Sequence);
  }

  async #store(word: number): Promise<void> {
    this.#area.write(0, this.#bytes.subarray(word, word + WORD_BYTES), word);
    await this.#area.persist(0, 1);
  }

  #check(): void {
    this.#checkFeatures();
    const size = this.#bytes.readUInt32BE(JsbField.BlockSize);
    if (size !== LOG_BLOCK_SIZE) throw damaged(`journal superblock: block size ${size}`);
    const { maxLen, first, start } = this;
    const isInside = maxLen <= this.#area.blocks && first >= 1 && first < maxLen;
    const isStart = start === 0 || (start >= first && start < maxLen);
    if (!isInside || !isStart) {
      throw damaged(
        `journal superblock: log of ${maxLen} blocks from ${first} on, start ${start}, in a file of ${this.#area.blocks}`,
      );
    }
    if (start !== 0) this.#checkReplay();
  }

  #checkFeatures(): void {
    const incompat = this.#bytes.readUInt32BE(JsbField.FeatureIncompat);
    const names = [
      featureNames(incompat & ~KNOWN_INCOMPAT, INCOMPAT),
      featureNames(this.#bytes.readUInt32BE(JsbField.FeatureRoCompat), RO_COMPAT),
    ];
    const unknown = names.join(' ').trim();
    if (unknown !== '') {
      const advice =
        'once it is empty, tune2fs -O ^has_journal and then -O has_journal make a new one';
      throw new DaxdError('EOPNOTSUPP', `journal: unknown features ${unknown}; ${advice}`);
    }
    const isTwice = (incompat & CHECKSUMS) === CHECKSUMS;
    if (isTwice || (hasChecksum(this.#bytes) && hasOldChecksum(this.#bytes))) {
      throw damaged(`journal superblock: it has checksums ${isTwice ? 'v2' : 'v1'} and later ones`);
    }
  }

  #checkReplay(): void {
    const others = this.#bytes.readUInt32BE(JsbField.FeatureIncompat) & ~JOURNAL_INCOMPAT;
    if (others === 0 && hasChecksum(this.#bytes)) return;
    const what = others === 0 ? 'without checksums' : `with ${featureNames(others, INCOMPAT)}`;
    throw new DaxdError(
      'EOPNOTSUPP',
      `journal: its log is not empty, and daxd replays none ${what}; mount and unmount it with a Linux kernel, or run e2fsck -fy`,
    );
  }
}

/** The superblock of an empty log of so many blocks, the first one included. */
export function encodeEmptyJournal(uuid: Buffer, blocks: number): Buffer {
  const bytes = Buffer.alloc(JSB_BYTES);
  bytes.writeUInt32BE(JBD2_MAGIC, HeaderField.Magic);
  bytes.writeUInt32BE(BlockType.SuperblockV2, HeaderField.Type);
  bytes.writeUInt32BE(LOG_BLOCK_SIZE, JsbField.BlockSize);
  bytes.writeUInt32BE(blocks, JsbField.MaxLen);
  bytes.writeUInt32BE(1, JsbField.First);
  bytes.writeUInt32BE(1, JsbField.Sequence);
  bytes.writeUInt32BE(JOURNAL_INCOMPAT, JsbField.FeatureIncompat);
  bytes.set(uuid, JsbField.Uuid);
  bytes.writeUInt32BE(1, JsbField.Users);
  bytes.writeUInt8(JOURNAL_CHECKSUM_CRC32C, JsbField.ChecksumType);
  bytes.writeUInt32BE(checksum(bytes), JsbField.Checksum);
  return bytes;
}

function isJournalSuperblock(bytes: Buffer): boolean {
  return (
    bytes.readUInt32BE(HeaderField.Magic) === JBD2_MAGIC &&
    bytes.readUInt32BE(HeaderField.Type) === BlockType.SuperblockV2
  );
}

function hasChecksum(bytes: Buffer): boolean {
  return (bytes.readUInt32BE(JsbField.FeatureIncompat) & CHECKSUMS) !== 0;
}

function hasOldChecksum(bytes: Buffer): boolean {
  return (bytes.readUInt32BE(JsbField.FeatureCompat) & JOURNAL_COMPAT_CHECKSUM) !== 0;
}

/** mke2fs leaves a journal without features, and then without a checksum. */
function isSealed(bytes: Buffer): boolean {
  return !hasChecksum(bytes) || bytes.readUInt32BE(JsbField.Checksum) === checksum(bytes);
}

function checksum(bytes: Buffer): number {
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(0, JsbField.Checksum);
  return crc32c(CRC_INIT, copy);
}
