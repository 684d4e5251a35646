import { crc32c } from '../../lib/crc32c.js';
import {
  BlockType,
  CommitField,
  HEADER_BYTES,
  HeaderField,
  JBD2_MAGIC,
  REVOKE_BYTES,
  REVOKE_BYTES_NARROW,
  REVOKE_COUNT,
  REVOKE_HEADER_BYTES,
  TAG_BYTES,
  TAG_UUID_BYTES,
  TagField,
  TagFlag,
  TAIL_OFFSET,
  TAGS_MAX,
} from './layout.js';

/** What seals the records of one journal. */
export interface JournalIdentity {
  readonly uuid: Buffer;
  /** crc32c of the UUID: seed of all checksums but the superblock's. */
  readonly seed: number;
}

/** Where a logged block belongs, and its copy as it stands in the log. */
export interface LoggedBlock {
  readonly home: number;
  readonly bytes: Buffer;
  readonly escaped: boolean;
}

/** One tag of a descriptor block. */
export interface Tag {
  readonly home: number;
  readonly escaped: boolean;
  readonly checksum: number;
}

/** Type of a block that belongs to a transaction; undefined when it does not. */
export function recordType(block: Buffer, sequence: number): number | undefined {
  const isRecord =
    block.readUInt32BE(HeaderField.Magic) === JBD2_MAGIC &&
    block.readUInt32BE(HeaderField.Sequence) === sequence;
  return isRecord ? block.readUInt32BE(HeaderField.Type) : undefined;
}

/**
 * The copy of a block that goes into the log: a block that begins like a record has its
 * first word zeroed there, or recovery would take it for one.
 */
export function escapeBlock(home: number, bytes: Buffer): LoggedBlock {
  if (bytes.readUInt32BE(0) !== JBD2_MAGIC) return { home, bytes, escaped: false };
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(0, 0);
  return { home, bytes: copy, escaped: true };
}

/** Seed of the checksums of a transaction's blocks, each as the log has it. */
export function blockSeed(seed: number, sequence: number): number {
  word.writeUInt32BE(sequence);
  return crc32c(seed, word);
}

/** Writes the descriptor of up to {@link TAGS_MAX} blocks that follow it in the log. */
export function encodeDescriptor(
  descriptor: Buffer,
  { uuid, seed }: JournalIdentity,
  sequence: number,
  blocks: readonly LoggedBlock[],
): void {
  encodeHeader(descriptor, BlockType.Descriptor, sequence);
  const tagSeed = blockSeed(seed, sequence);
  let at = HEADER_BYTES;
  blocks.forEach(({ home, bytes, escaped }, i) => {
    const flags =
      (escaped ? TagFlag.Escape : 0) |
      (i > 0 ? TagFlag.SameUuid : 0) |
      (i === blocks.length - 1 ? TagFlag.Last : 0);
    descriptor.writeUInt32BE(home % 2 ** 32, at + TagField.BlockLo);
    descriptor.writeUInt32BE(flags, at + TagField.Flags);
    descriptor.writeUInt32BE(Math.floor(home / 2 ** 32), at + TagField.BlockHi);
    descriptor.writeUInt32BE(crc32c(tagSeed, bytes), at + TagField.Checksum);
    at += TAG_BYTES;
    if (i > 0) return;
    uuid.copy(descriptor, at);
    at += TAG_UUID_BYTES;
  });
  sealTail(descriptor, seed);
}

/** The tags of a descriptor block whose tail was verified; `is64` when its log has numbers of 64 bits. */
export function decodeDescriptor(descriptor: Buffer, is64: boolean): Tag[] {
  const tags: Tag[] = [];
  let at = HEADER_BYTES;
  while (at + TAG_BYTES <= TAIL_OFFSET && tags.length < TAGS_MAX) {
    const flags = descriptor.readUInt32BE(at + TagField.Flags);
    tags.push({
      home:
        descriptor.readUInt32BE(at + TagField.BlockLo) +
        (is64 ? descriptor.readUInt32BE(at + TagField.BlockHi) * 2 ** 32 : 0),
      escaped: (flags & TagFlag.Escape) !== 0,
      checksum: descriptor.readUInt32BE(at + TagField.Checksum),
    });
    if ((flags & TagFlag.Last) !== 0) break;
    at += TAG_BYTES + ((flags & TagFlag.SameUuid) === 0 ? TAG_UUID_BYTES : 0);
  }
  return tags;
}

/** Writes a record that voids logged copies of up to `REVOKES_MAX` blocks, of this transaction and older. */
export function encodeRevoke(
  revoke: Buffer,
  seed: number,
  sequence: number,
  blocks: readonly number[],
): void {
  encodeHeader(revoke, BlockType.Revoke, sequence);
  revoke.writeUInt32BE(REVOKE_HEADER_BYTES + REVOKE_BYTES * blocks.length, REVOKE_COUNT);
  blocks.forEach((block, i) => {
    const at = REVOKE_HEADER_BYTES + REVOKE_BYTES * i;
    revoke.writeUInt32BE(Math.floor(block / 2 ** 32), at);
    revoke.writeUInt32BE(block % 2 ** 32, at + 4);
  });
  sealTail(revoke, seed);
}

/** The block numbers of a verified revoke record; `is64` when its log has numbers of 64 bits. */
export function decodeRevoke(revoke: Buffer, is64: boolean): number[] {
  const blocks: number[] = [];
  const end = Math.min(revoke.readUInt32BE(REVOKE_COUNT), TAIL_OFFSET);
  const bytes = is64 ? REVOKE_BYTES : REVOKE_BYTES_NARROW;
  for (let at = REVOKE_HEADER_BYTES; at + bytes <= end; at += bytes) {
    const first = revoke.readUInt32BE(at);
    blocks.push(is64 ? first * 2 ** 32 + revoke.readUInt32BE(at + 4) : first);
  }
  return blocks;
}

/** Writes the record that ends a transaction. */
export function encodeCommit(commit: Buffer, seed: number, sequence: number, wallMs: number): void {
  encodeHeader(commit, BlockType.Commit, sequence);
  // The field has no sign, and nobody reads it.
  const ms = Math.max(0, wallMs);
  const seconds = Math.floor(ms / 1000);
  commit.writeUInt32BE(Math.floor(seconds / 2 ** 32), CommitField.Seconds);
  commit.writeUInt32BE(seconds % 2 ** 32, CommitField.Seconds + 4);
  commit.writeUInt32BE(Math.floor((ms % 1000) * 1e6), CommitField.Nanoseconds);
  commit.writeUInt32BE(crc32c(seed, commit), CommitField.Checksum);
}

/** Whether a block is the whole commit record of a transaction. */
export function isCommit(block: Buffer, seed: number, sequence: number): boolean {
  if (recordType(block, sequence) !== BlockType.Commit) return false;
  const copy = Buffer.from(block);
  copy.writeUInt32BE(0, CommitField.Checksum);
  return block.readUInt32BE(CommitField.Checksum) === crc32c(seed, copy);
}

/** Whether the checksum at the end of a descriptor or revoke block is right. */
export function isTailSealed(block: Buffer, seed: number): boolean {
  return block.readUInt32BE(TAIL_OFFSET) === tailChecksum(block, seed);
}

/** The checksum itself still being zero. */
function sealTail(block: Buffer, seed: number): void {
  block.writeUInt32BE(crc32c(seed, block), TAIL_OFFSET);
}

/** Over the whole block, the checksum itself taken as zero. */
function tailChecksum(block: Buffer, seed: number): number {
  word.writeUInt32BE(0);
  return crc32c(crc32c(seed, block.subarray(0, TAIL_OFFSET)), word);
}

function encodeHeader(block: Buffer, type: number, sequence: number): void {
  block.fill(0);
  block.writeUInt32BE(JBD2_MAGIC, HeaderField.Magic);
  block.writeUInt32BE(type, HeaderField.Type);
  block.writeUInt32BE(sequence, HeaderField.Sequence);
}

const word = Buffer.alloc(4);
