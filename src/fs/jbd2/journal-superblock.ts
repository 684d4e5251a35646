import { CRC_INIT, crc32c } from '../../lib/crc32c.js';
import { DaxdError } from '../../lib/errno.js';
import {
  BlockType,
  HeaderField,
  JBD2_MAGIC,
  JOURNAL_CHECKSUM_CRC32C,
  JOURNAL_INCOMPAT,
  JournalIncompat,
  JSB_BYTES,
  JSB_SHADOW_OFFSET,
  JsbField,
  LOG_BLOCK_SIZE,
} from './layout.js';
import type { LogArea } from './log-area.js';
import type { JournalIdentity } from './log-records.js';

/**
 * The journal's superblock, block 0 of the log: where the log starts and with which
 * transaction. Its checksum lies in another cache line than its fields, so a power cut during
 * an update may tear it: a copy is made durable first, in the same block behind it, and the
 * next mount takes that one.
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
   * Reads and checks it; where it is torn, the copy made before it.
   *
   * @throws DaxdError EBADMSG when neither is whole, EUCLEAN for fields that do not fit the
   *   log, EOPNOTSUPP for features
   * @kernel journal_get_superblock, journal_load_superblock (fs/jbd2/journal.c)
   */
  static load(area: LogArea): JournalSuperblock {
    if (area.blocks === 0) throw damaged('the journal has no blocks');
    const block = area.read(0);
    const first = block.subarray(0, JSB_BYTES);
    const shadow = block.subarray(JSB_SHADOW_OFFSET, JSB_SHADOW_OFFSET + JSB_BYTES);
    const isWhole = (bytes: Buffer): boolean => isJournalSuperblock(bytes) && isSealed(bytes);
    // Torn in the middle of the first update, it has its new start and not the checksum yet.
    const isBegun = !hasChecksum(first) && first.readUInt32BE(JsbField.Start) !== 0;
    // Only a copy with a checksum is a copy: what else stands there is anything.
    const isShadow = (isBegun || !isWhole(first)) && hasChecksum(shadow) && isWhole(shadow);
    const bytes = Buffer.from(isShadow ? shadow : first);
    if (!isJournalSuperblock(bytes)) throw damaged('journal superblock: there is none');
    if (!isSealed(bytes)) {
      throw new DaxdError(
        'EBADMSG',
        'checksum mismatch: journal superblock; repair it with e2fsck -fy',
      );
    }
    const superblock = new JournalSuperblock(area, bytes);
    superblock.#check();
    return superblock;
  }

  get uuid(): Buffer {
    return this.#bytes.subarray(JsbField.Uuid, JsbField.Uuid + 16);
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

  /** Number of that transaction, or of the next one. */
  get sequence(): number {
    return this.#bytes.readUInt32BE(JsbField.Sequence);
  }

  /** Makes a new start durable; sets the features that daxd writes by. @throws DaxdError EIO */
  async update({ start, sequence }: { start: number; sequence: number }): Promise<void> {
    const bytes = this.#bytes;
    bytes.writeUInt32BE(start, JsbField.Start);
    bytes.writeUInt32BE(sequence, JsbField.Sequence);
    const incompat = bytes.readUInt32BE(JsbField.FeatureIncompat);
    bytes.writeUInt32BE(incompat | JOURNAL_INCOMPAT, JsbField.FeatureIncompat);
    bytes.writeUInt8(JOURNAL_CHECKSUM_CRC32C, JsbField.ChecksumType);
    bytes.writeUInt32BE(checksum(bytes), JsbField.Checksum);
    await this.#store(bytes, JSB_SHADOW_OFFSET);
    await this.#store(bytes, 0);
    // Once somebody else changes the superblock the copy says nothing.
    await this.#store(NO_SHADOW, JSB_SHADOW_OFFSET);
  }

  async #store(bytes: Buffer, offset: number): Promise<void> {
    this.#area.write(0, bytes, offset);
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
    if (start !== 0 && !hasChecksum(this.#bytes)) refuse('a log without checksums, not empty');
  }

  #checkFeatures(): void {
    const incompat = this.#bytes.readUInt32BE(JsbField.FeatureIncompat);
    const unknown = (incompat & ~JOURNAL_INCOMPAT) >>> 0;
    if (unknown !== 0) refuse(`incompatible features 0x${unknown.toString(16)}`);
    if (this.#bytes.readUInt32BE(JsbField.FeatureRoCompat) !== 0) refuse('unknown features');
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

const NO_SHADOW = Buffer.alloc(JSB_BYTES);

function isJournalSuperblock(bytes: Buffer): boolean {
  return (
    bytes.readUInt32BE(HeaderField.Magic) === JBD2_MAGIC &&
    bytes.readUInt32BE(HeaderField.Type) === BlockType.SuperblockV2
  );
}

function hasChecksum(bytes: Buffer): boolean {
  return (bytes.readUInt32BE(JsbField.FeatureIncompat) & JournalIncompat.CsumV3) !== 0;
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

function refuse(what: string): never {
  throw new DaxdError('EOPNOTSUPP', `journal: ${what}; run e2fsck -fy, or mount it elsewhere once`);
}

function damaged(what: string): DaxdError {
  return new DaxdError('EUCLEAN', `${what}; run e2fsck -fy`);
}
