/**
 * Where things lie in a jbd2 log: offsets in bytes within their block, bits and limits. Big
 * endian throughout. Facts: Linux Documentation/filesystems/ext4/journal.rst.
 */

/** Bytes of a log block; those of the filesystem's blocks are the same. */
export const LOG_BLOCK_SIZE = 4096;
/** Blocks of the shortest log. @kernel JBD2_MIN_JOURNAL_BLOCKS (linux/jbd2.h) */
export const LOG_BLOCKS_MIN = 1024;
/** First word of every block of the log that is no copy of a filesystem's block. */
export const JBD2_MAGIC = 0xc03b3998;

/** What a block with the magic is. @kernel JBD2_*_BLOCK (include/linux/jbd2.h) */
export const BlockType = { Descriptor: 1, Commit: 2, SuperblockV2: 4, Revoke: 5 } as const;

/** Fields that every block with the magic begins with. @kernel struct journal_header_s (include/linux/jbd2.h) */
export const HeaderField = { Magic: 0x00, Type: 0x04, Sequence: 0x08 } as const;
export const HEADER_BYTES = 12;

/** Fields of the journal's own superblock. @kernel struct journal_superblock_s (include/linux/jbd2.h) */
export const JsbField = {
  BlockSize: 0x0c,
  MaxLen: 0x10,
  First: 0x14,
  Sequence: 0x18,
  Start: 0x1c,
  Errno: 0x20,
  FeatureCompat: 0x24,
  FeatureIncompat: 0x28,
  FeatureRoCompat: 0x2c,
  Uuid: 0x30,
  Users: 0x40,
  ChecksumType: 0x50,
  Checksum: 0xfc,
} as const;
/** Bytes of it that mean something; the rest of its block is free. */
export const JSB_BYTES = 1024;

/** The one such feature: checksums v1, in commit records alone. @kernel JBD2_FEATURE_COMPAT_CHECKSUM (include/linux/jbd2.h) */
export const JOURNAL_COMPAT_CHECKSUM = 0x1;
/** @kernel JBD2_FEATURE_INCOMPAT_* (include/linux/jbd2.h) */
export const JournalIncompat = {
  Revoke: 0x1,
  Bit64: 0x2,
  AsyncCommit: 0x4,
  CsumV2: 0x8,
  CsumV3: 0x10,
  FastCommit: 0x20,
} as const;
/** What daxd writes, and all that it replays. */
export const JOURNAL_INCOMPAT =
  JournalIncompat.Revoke | JournalIncompat.Bit64 | JournalIncompat.CsumV3;
export const JOURNAL_CHECKSUM_CRC32C = 4;

/**
 * Fields of a tag of a descriptor block. With checksum v3 its size is the same in every log; the
 * high half of the block means something only with {@link JournalIncompat.Bit64}.
 *
 * @kernel struct journal_block_tag3_s (include/linux/jbd2.h)
 */
export const TagField = { BlockLo: 0x0, Flags: 0x4, BlockHi: 0x8, Checksum: 0xc } as const;
export const TAG_BYTES = 16;
/** The first tag of a block is followed by the journal's UUID. */
export const TAG_UUID_BYTES = 16;
/** Bits of a tag. @kernel JBD2_FLAG_* (include/linux/jbd2.h) */
export const TagFlag = { Escape: 1, SameUuid: 2, Deleted: 4, Last: 8 } as const;
/** Checksum of a descriptor or revoke block. */
export const TAIL_OFFSET = LOG_BLOCK_SIZE - 4;
/** Tags that a descriptor block holds. */
export const TAGS_MAX = Math.floor((TAIL_OFFSET - HEADER_BYTES - TAG_UUID_BYTES) / TAG_BYTES);

/** Bytes in use of a revoke block, its header included; the numbers follow, see {@link REVOKE_BYTES}. */
export const REVOKE_COUNT = 0x0c;
export const REVOKE_HEADER_BYTES = 16;
/** Of one number in the logs that daxd writes. */
export const REVOKE_BYTES = 8;
/** Of one in a log without {@link JournalIncompat.Bit64}. */
export const REVOKE_BYTES_NARROW = 4;
export const REVOKES_MAX = Math.floor((TAIL_OFFSET - REVOKE_HEADER_BYTES) / REVOKE_BYTES);

/** Fields of a commit block. @kernel struct commit_header (include/linux/jbd2.h) */
export const CommitField = { Checksum: 0x10, Seconds: 0x30, Nanoseconds: 0x38 } as const;
