import { crc, le32 } from './crc32c.js';

export const BLOCK = 4096;
const SUPERBLOCK = 1024;
const INODE_BYTES = 256;
export const DESCRIPTOR_BYTES = 64;
const JOURNAL_MAGIC = 0xc03b3998;

/** The kinds of structure that have a checksum of their own. */
export type Kind =
  | 'superblock'
  | 'descriptor'
  | 'block bitmap'
  | 'inode bitmap'
  | 'inode'
  | 'extent block'
  | 'directory leaf'
  | 'index root'
  | 'attribute block'
  | 'orphan block'
  | 'journal superblock'
  | 'journal block';

/** One structure of an image. */
export interface Structure {
  readonly kind: Kind;
  /** Bytes of the image. */
  readonly offset: number;
  readonly length: number;
  /** The inode that it belongs to, or the group for descriptors and bitmaps. */
  readonly owner: number;
}

/** Where everything lies in an image that is whole: what a mutation aims at. */
export interface Atlas {
  readonly seed: number;
  readonly journalSeed: number;
  readonly blocks: number;
  readonly inodes: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  /** Where each group's inode table begins, in bytes. */
  readonly tables: readonly number[];
  readonly structures: readonly Structure[];
  readonly byKind: ReadonlyMap<Kind, readonly Structure[]>;
}

/** An extent of an intact file, in blocks. */
interface Extent {
  readonly logical: number;
  readonly physical: number;
  readonly length: number;
}

const EXTENTS_FLAG = 0x80000;
const INDEX_FLAG = 0x1000;
const DIRECTORY = 0x4000;
const TYPE_MASK = 0xf000;
const JOURNAL_INODE = 8;

/** Reads an intact image. */
export function survey(image: Buffer): Atlas {
  const sb = image.subarray(SUPERBLOCK, 2 * SUPERBLOCK);
  const seed = crc(0xffffffff, sb.subarray(0x68, 0x78));
  const surveyor = new Surveyor(image, sb);
  surveyor.surveyAll();
  const byKind = new Map<Kind, Structure[]>();
  for (const structure of surveyor.structures) {
    const same = byKind.get(structure.kind);
    if (same) same.push(structure);
    else byKind.set(structure.kind, [structure]);
  }
  return {
    seed,
    journalSeed: surveyor.journalSeed,
    blocks: sb.readUInt32LE(4),
    inodes: sb.readUInt32LE(0),
    blocksPerGroup: sb.readUInt32LE(0x20),
    inodesPerGroup: sb.readUInt32LE(0x28),
    tables: surveyor.tables,
    structures: surveyor.structures,
    byKind,
  };
}

/** What says where inodes lie. */
type Tables = Pick<Atlas, 'tables' | 'inodesPerGroup'>;

/** Where inode `number` lies. */
export function inodeOffset({ tables, inodesPerGroup }: Tables, number: number): number {
  const table = tables[Math.floor((number - 1) / inodesPerGroup)] ?? 0;
  return table + ((number - 1) % inodesPerGroup) * INODE_BYTES;
}

/** The seed of the checksums of an inode's blocks, and of its own. */
export function inodeSeed(image: Buffer, number: number, atlas: Atlas): number {
  const offset = inodeOffset(atlas, number);
  const generation = image.subarray(offset + 0x64, offset + 0x68);
  return crc(crc(atlas.seed, le32(number)), generation);
}

class Surveyor {
  readonly structures: Structure[] = [];
  readonly tables: number[] = [];
  readonly inodesPerGroup: number;
  journalSeed = 0;
  readonly #image: Buffer;
  readonly #sb: Buffer;

  constructor(image: Buffer, sb: Buffer) {
    this.#image = image;
    this.#sb = sb;
    this.inodesPerGroup = sb.readUInt32LE(0x28);
  }

  surveyAll(): void {
    this.#add('superblock', SUPERBLOCK, SUPERBLOCK, 0);
    const blocks = this.#sb.readUInt32LE(4);
    const groups = Math.ceil(blocks / this.#sb.readUInt32LE(0x20));
    for (let group = 0; group < groups; group++) this.#surveyGroup(group);
  }

  #surveyGroup(group: number): void {
    const at = BLOCK + group * DESCRIPTOR_BYTES;
    this.tables.push(this.#image.readUInt32LE(at + 8) * BLOCK);
    this.#add('descriptor', at, DESCRIPTOR_BYTES, group);
    const flags = this.#image.readUInt16LE(at + 0x12);
    if ((flags & 2) === 0) {
      this.#add('block bitmap', this.#image.readUInt32LE(at) * BLOCK, BLOCK, group);
    }
    if ((flags & 1) !== 0) return;
    const bitmap = this.#image.readUInt32LE(at + 4) * BLOCK;
    this.#add('inode bitmap', bitmap, BLOCK, group);
    for (let i = 0; i < this.inodesPerGroup; i++) {
      const used = ((this.#image[bitmap + (i >>> 3)] ?? 0) >>> (i & 7)) & 1;
      if (used === 1) this.#surveyInode(group * this.inodesPerGroup + i + 1);
    }
  }

  #surveyInode(number: number): void {
    const image = this.#image;
    const at = inodeOffset(this, number);
    const mode = image.readUInt16LE(at);
    if (mode === 0) return;
    this.#add('inode', at, INODE_BYTES, number);
    const acl = image.readUInt32LE(at + 0x68);
    if (acl > 0) this.#add('attribute block', acl * BLOCK, BLOCK, number);
    const flags = image.readUInt32LE(at + 0x20);
    if ((flags & EXTENTS_FLAG) === 0) return;
    const extents = this.#surveyTree(number, at + 0x28);
    if ((mode & TYPE_MASK) === DIRECTORY) {
      this.#surveyDirectory(number, extents, (flags & INDEX_FLAG) !== 0);
    }
    if (number === JOURNAL_INODE) this.#surveyJournal(extents);
    if (number === this.#sb.readUInt32LE(0x280)) {
      for (const block of blocksOf(extents))
        this.#add('orphan block', block * BLOCK, BLOCK, number);
    }
  }

  #surveyTree(number: number, header: number): Extent[] {
    const image = this.#image;
    const entries = image.readUInt16LE(header + 2);
    const depth = image.readUInt16LE(header + 6);
    const extents: Extent[] = [];
    for (let i = 0; i < entries; i++) {
      const at = header + 12 + 12 * i;
      const logical = image.readUInt32LE(at);
      if (depth === 0) {
        const length = image.readUInt16LE(at + 4);
        const physical = image.readUInt32LE(at + 8);
        extents.push({ logical, physical, length: length > 32768 ? length - 32768 : length });
      } else {
        const child = image.readUInt32LE(at + 4) * BLOCK;
        this.#add('extent block', child, BLOCK, number);
        extents.push(...this.#surveyTree(number, child));
      }
    }
    return extents;
  }

  #surveyDirectory(number: number, extents: readonly Extent[], isIndexed: boolean): void {
    for (const [i, block] of blocksOf(extents).entries()) {
      const kind = isIndexed && i === 0 ? 'index root' : 'directory leaf';
      this.#add(kind, block * BLOCK, BLOCK, number);
    }
  }

  #surveyJournal(extents: readonly Extent[]): void {
    const [first = 0, ...log] = blocksOf(extents);
    this.#add('journal superblock', first * BLOCK, SUPERBLOCK, JOURNAL_INODE);
    const uuid = this.#image.subarray(first * BLOCK + 0x30, first * BLOCK + 0x40);
    this.journalSeed = crc(0xffffffff, uuid);
    for (const block of log) {
      if (this.#image.readUInt32BE(block * BLOCK) !== JOURNAL_MAGIC) continue;
      this.#add('journal block', block * BLOCK, BLOCK, JOURNAL_INODE);
    }
  }

  #add(kind: Kind, offset: number, length: number, owner: number): void {
    this.structures.push({ kind, offset, length, owner });
  }
}

/** Physical blocks in logical order. */
function blocksOf(extents: readonly Extent[]): number[] {
  return extents.flatMap(({ physical, length }) => Array.from({ length }, (_, i) => physical + i));
}
