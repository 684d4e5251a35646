import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE } from '../lib/units.js';
import { formatUuid, parseUuid } from '../lib/uuid.js';
import { fletcher64 } from './fletcher64.js';

/** Where the info block lies in its namespace; the 4 KiB before it belong to nobody. */
export const INFO_BLOCK_OFFSET = 4096;
/** Bytes of an info block, checksum included. */
export const INFO_BLOCK_BYTES = 4096;
/** What a namespace sets aside for both. */
export const INFO_BLOCK_RESERVE_BYTES = INFO_BLOCK_OFFSET + INFO_BLOCK_BYTES;

/** What the first 16 bytes say the namespace is: fsdax or devdax. */
export const InfoBlockSignature = {
  Pfn: 'NVDIMM_PFN_INFO',
  Dax: 'NVDIMM_DAX_INFO',
} as const;
/** The signature of a known info block. */
export type InfoBlockSignature = (typeof InfoBlockSignature)[keyof typeof InfoBlockSignature];

/**
 * Where the page structures of the namespace live: nowhere, in memory (`map=mem`), or in
 * the namespace (`map=dev`).
 *
 * @kernel enum nd_pfn_mode (drivers/nvdimm/nd.h)
 */
export const PfnMode = { None: 0, Ram: 1, Pmem: 2 } as const;

export const ZERO_UUID = '00000000-0000-0000-0000-000000000000';
/** Bytes of a page structure as 1.4 blocks record it. @kernel sizeof(struct page) */
export const PAGE_STRUCT_BYTES = 64;

/**
 * The fields of an info block, in the units of the media: bytes, except where named.
 *
 * @kernel struct nd_pfn_sb (drivers/nvdimm/pfn.h)
 */
export interface PfnSuperblock {
  readonly signature: InfoBlockSignature;
  /** Lower case text. */
  readonly uuid: string;
  /** Of the namespace the block belongs to; all zero without a label. */
  readonly parentUuid: string;
  readonly flags: number;
  readonly versionMajor: number;
  readonly versionMinor: number;
  /** From the padded start of the namespace to its first data byte. */
  readonly dataoff: number;
  /** Data pages. */
  readonly npfns: number;
  /** A value of {@link PfnMode} in a valid block. */
  readonly mode: number;
  readonly startPad: number;
  readonly endTrunc: number;
  /** What mappings should be aligned to; 0 when not said. */
  readonly align: number;
  readonly pageSize: number;
  readonly pageStructSize: number;
}

/** Byte offsets of the fields, all little-endian. */
const UUID = 16;
const PARENT_UUID = 32;
const FLAGS = 48;
const VERSION_MAJOR = 52;
const VERSION_MINOR = 54;
const DATAOFF = 56;
const NPFNS = 64;
const MODE = 72;
const START_PAD = 76;
const END_TRUNC = 80;
const ALIGN = 84;
const PAGE_SIZE_FIELD = 88;
const PAGE_STRUCT_SIZE = 92;
const CHECKSUM = 4088;

const SIGNATURE_BYTES = 16;

/** The signature that a block starts with; undefined when it is none. */
export function infoBlockSignature(block: Buffer): InfoBlockSignature | undefined {
  const text = block.toString('latin1', 0, SIGNATURE_BYTES);
  return Object.values(InfoBlockSignature).find((signature) => text === `${signature}\0`);
}

/** Whether the block's checksum is that of its bytes. */
export function infoBlockChecksumHolds(block: Buffer): boolean {
  return block.readBigUInt64LE(CHECKSUM) === checksumOf(block);
}

/**
 * Reads every field as it stands, then gives those that the block's version does not have
 * yet the values they stood for.
 *
 * @param block 4096 bytes with a known signature; its checksum is not looked at
 * @kernel nd_pfn_validate (drivers/nvdimm/pfn_devs.c), the fix-ups by version
 */
export function decodeInfoBlock(block: Buffer): PfnSuperblock {
  assert(block.length === INFO_BLOCK_BYTES, 'an info block has 4096 bytes');
  const signature = infoBlockSignature(block);
  assert(signature !== undefined, 'only a block with a known signature is decoded');
  const versionMinor = block.readUInt16LE(VERSION_MINOR);
  return {
    signature,
    uuid: formatUuid(block, UUID),
    parentUuid: formatUuid(block, PARENT_UUID),
    flags: block.readUInt32LE(FLAGS),
    versionMajor: block.readUInt16LE(VERSION_MAJOR),
    versionMinor,
    dataoff: Number(block.readBigUInt64LE(DATAOFF)),
    npfns: Number(block.readBigUInt64LE(NPFNS)),
    mode: block.readUInt32LE(MODE),
    startPad: versionMinor < 1 ? 0 : block.readUInt32LE(START_PAD),
    endTrunc: versionMinor < 1 ? 0 : block.readUInt32LE(END_TRUNC),
    align: versionMinor < 2 ? 0 : block.readUInt32LE(ALIGN),
    pageSize: versionMinor < 4 ? PAGE_SIZE : block.readUInt32LE(PAGE_SIZE_FIELD),
    pageStructSize: versionMinor < 4 ? PAGE_STRUCT_BYTES : block.readUInt16LE(PAGE_STRUCT_SIZE),
  };
}

/** The 4096 bytes of a block, unused ones zero, sealed with its checksum. */
export function encodeInfoBlock(sb: PfnSuperblock): Buffer {
  const block = Buffer.alloc(INFO_BLOCK_BYTES);
  block.write(sb.signature, 'latin1');
  encodeUuid(sb.uuid, block, UUID);
  encodeUuid(sb.parentUuid, block, PARENT_UUID);
  block.writeUInt32LE(sb.flags, FLAGS);
  block.writeUInt16LE(sb.versionMajor, VERSION_MAJOR);
  block.writeUInt16LE(sb.versionMinor, VERSION_MINOR);
  block.writeBigUInt64LE(BigInt(sb.dataoff), DATAOFF);
  block.writeBigUInt64LE(BigInt(sb.npfns), NPFNS);
  block.writeUInt32LE(sb.mode, MODE);
  block.writeUInt32LE(sb.startPad, START_PAD);
  block.writeUInt32LE(sb.endTrunc, END_TRUNC);
  block.writeUInt32LE(sb.align, ALIGN);
  block.writeUInt32LE(sb.pageSize, PAGE_SIZE_FIELD);
  block.writeUInt16LE(sb.pageStructSize, PAGE_STRUCT_SIZE);
  sealInfoBlock(block);
  return block;
}

/** Stores the checksum of the block's bytes in the block. */
export function sealInfoBlock(block: Buffer): void {
  block.writeBigUInt64LE(checksumOf(block), CHECKSUM);
}

function checksumOf(block: Buffer): bigint {
  const copy = Buffer.from(block);
  copy.fill(0, CHECKSUM);
  return fletcher64(copy);
}

function encodeUuid(uuid: string, block: Buffer, at: number): void {
  const bytes = parseUuid(uuid);
  if (bytes === undefined) {
    throw new DaxdError('EINVAL', `"${uuid}" is not a UUID: give 8-4-4-4-12 hexadecimal digits`);
  }
  bytes.copy(block, at);
}
