import { type Atlas, BLOCK, DESCRIPTOR_BYTES, inodeSeed, type Structure } from './atlas.js';
import { crc, crcExcept, le32 } from './crc32c.js';

const INIT = 0xffffffff;

/**
 * Makes the checksum of a structure right again after its bytes were changed: by the table of
 * ext4.md 2.1 and by nothing of daxd's. Seeds and places are those of the intact image, counts
 * and limits those that the structure has now, kept inside its block.
 */
export function seal(image: Buffer, atlas: Atlas, structure: Structure): void {
  const bytes = image.subarray(structure.offset, structure.offset + structure.length);
  SEALERS[structure.kind]({ image, atlas, structure, bytes });
}

interface Sealing {
  readonly image: Buffer;
  readonly atlas: Atlas;
  readonly structure: Structure;
  readonly bytes: Buffer;
}

const SEALERS: Readonly<Record<Structure['kind'], (sealing: Sealing) => void>> = {
  superblock: ({ bytes }) => bytes.writeUInt32LE(crc(INIT, bytes.subarray(0, 0x3fc)), 0x3fc),
  descriptor: sealDescriptor,
  'block bitmap': (sealing) => {
    const { bytes, atlas } = sealing;
    sealBitmap(sealing, crc(atlas.seed, bytes.subarray(0, atlas.blocksPerGroup / 8)), 0x18, 0x38);
  },
  'inode bitmap': (sealing) => {
    const { bytes, atlas } = sealing;
    sealBitmap(sealing, crc(atlas.seed, bytes.subarray(0, atlas.inodesPerGroup / 8)), 0x1a, 0x3a);
  },
  inode: sealInode,
  'extent block': (sealing) => {
    const { bytes } = sealing;
    const end = Math.min(12 + 12 * bytes.readUInt16LE(4), BLOCK - 4);
    bytes.writeUInt32LE(crc(ownerSeed(sealing), bytes.subarray(0, end)), end);
  },
  'directory leaf': (sealing) => {
    const { bytes } = sealing;
    bytes.writeUInt32LE(crc(ownerSeed(sealing), bytes.subarray(0, BLOCK - 12)), BLOCK - 4);
  },
  'index root': sealIndexRoot,
  'attribute block': ({ bytes, atlas, structure }) => {
    const place = le64(structure.offset / BLOCK);
    bytes.writeUInt32LE(crcExcept(crc(atlas.seed, place), bytes, 0x10, 4), 0x10);
  },
  'orphan block': (sealing) => {
    const { bytes, structure } = sealing;
    const seed = crc(ownerSeed(sealing), le64(structure.offset / BLOCK));
    bytes.writeUInt32LE(crc(seed, bytes.subarray(0, BLOCK - 8)), BLOCK - 4);
  },
  'journal superblock': ({ bytes }) => bytes.writeUInt32BE(crcExcept(INIT, bytes, 0xfc, 4), 0xfc),
  'journal block': sealJournalBlock,
};

function sealDescriptor({ bytes, atlas, structure }: Sealing): void {
  const seed = crc(atlas.seed, le32(structure.owner));
  bytes.writeUInt16LE(crcExcept(seed, bytes, 0x1e, 2) & 0xffff, 0x1e);
}

/** A bitmap's sum lies in the descriptor, which is sealed then. */
function sealBitmap(
  { image, atlas, structure }: Sealing,
  sum: number,
  lo: number,
  hi: number,
): void {
  const offset = BLOCK + structure.owner * DESCRIPTOR_BYTES;
  const descriptor = {
    ...structure,
    kind: 'descriptor',
    offset,
    length: DESCRIPTOR_BYTES,
  } as const;
  image.writeUInt16LE(sum & 0xffff, offset + lo);
  image.writeUInt16LE(sum >>> 16, offset + hi);
  seal(image, atlas, descriptor);
}

function sealInode(sealing: Sealing): void {
  const { bytes } = sealing;
  const hasHigh = bytes.readUInt16LE(0x80) >= 4;
  bytes.writeUInt16LE(0, 0x7c);
  if (hasHigh) bytes.writeUInt16LE(0, 0x82);
  const sum = crc(ownerSeed(sealing), bytes);
  bytes.writeUInt16LE(sum & 0xffff, 0x7c);
  if (hasHigh) bytes.writeUInt16LE(sum >>> 16, 0x82);
}

function sealIndexRoot(sealing: Sealing): void {
  const { bytes } = sealing;
  const [limit, count] = [bytes.readUInt16LE(0x20), bytes.readUInt16LE(0x22)];
  const tail = Math.min(0x20 + 8 * limit, BLOCK - 8);
  const covered = bytes.subarray(0, Math.min(0x20 + 8 * count, BLOCK));
  const withReserved = crc(crc(ownerSeed(sealing), covered), bytes.subarray(tail, tail + 4));
  bytes.writeUInt32LE(crc(withReserved, Buffer.alloc(4)), tail + 4);
}

/** Descriptor and revoke blocks have their sum at the end, commit blocks within. */
function sealJournalBlock({ bytes, atlas }: Sealing): void {
  const isCommit = bytes.readUInt32BE(4) === 2;
  const at = isCommit ? 0x10 : BLOCK - 4;
  bytes.writeUInt32BE(crcExcept(atlas.journalSeed, bytes, at, 4), at);
}

function ownerSeed({ image, atlas, structure }: Sealing): number {
  return inodeSeed(image, structure.owner, atlas);
}

function le64(value: number): Buffer {
  return Buffer.concat([le32(value), le32(0)]);
}
