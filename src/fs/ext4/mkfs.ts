import { randomBytes, randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { assert } from '../../lib/assert.js';
import type { Clock } from '../../lib/clock.js';
import { DaxdError } from '../../lib/errno.js';
import { parseUuid } from '../../lib/uuid.js';
import type { BackingRange } from '../../media/backing-range.js';
import type { BlockRun } from '../block-run.js';
import { encodeEmptyJournal } from '../jbd2/journal-superblock.js';
import { setBits } from './bitmap.js';
import { inodeChecksumSeed } from './checksum.js';
import {
  clearDirectoryBlock,
  EntryType,
  findRoom,
  initDirectoryBlock,
  insertEntry,
  sealDirectoryBlock,
} from './directory-block.js';
import {
  BITMAP_BITS,
  BLOCK_SIZE,
  ModeType,
  SUPERBLOCK_BLOCK,
  SUPERBLOCK_OFFSET,
} from './layout.js';
import {
  BLOCKS_PER_GROUP,
  DESCRIPTOR_BYTES,
  INODE_BYTES,
  LOG_GROUPS_PER_FLEX,
  planMkfs,
} from './mkfs-geometry.js';
import type { GroupPlan, MkfsGeometry } from './mkfs-geometry.js';
import {
  encodeDescriptor,
  encodeInode,
  encodeSuperblock,
  filesystemSeed,
  MkfsInode,
} from './mkfs-records.js';
import type { GroupCounts, MkfsIdentity } from './mkfs-records.js';
import { encodeOrphanBlock } from './orphan-file.js';

const LABEL_BYTES_MAX = 16;
const FIRST_GROUP_INODES = MkfsInode.OrphanFile;
const FIRST_GROUP_DIRECTORIES = 2;
/** Where signatures of other formats may stand at the end of a partition, as mke2fs clears them. */
const TAIL_BYTES = 65536;
/** Groups written in one turn: those whose metadata lie together. */
const TURN_GROUPS = 2 ** LOG_GROUPS_PER_FLEX;
/** Text that has no UTF-8 form. */
const HALF_SURROGATE = /\p{Surrogate}/u;

/** What {@link mkfsExt4} is told. */
export interface MkfsOptions {
  /** At most 16 bytes of UTF-8. */
  readonly label: string;
  /** A random one by default. */
  readonly uuid?: string;
  readonly clock: Clock;
}

/**
 * Makes an ext4 filesystem: 4096-byte blocks, extents, metadata checksums, a journal and an
 * orphan file, all tables and bitmaps written. The old superblock goes first and the new one
 * comes last, each made durable, so that a cut leaves no filesystem rather than half of one.
 *
 * Settles when everything is durable.
 *
 * @throws DaxdError EROFS; EINVAL for a label, uuid or size that will not do; EIO
 */
export async function mkfsExt4(range: BackingRange, options: MkfsOptions): Promise<void> {
  if (range.readOnly) throw new DaxdError('EROFS', 'the backing is open read-only: no mkfs');
  const identity = makeIdentity(options);
  const geometry = planMkfs(range.length);
  const media = new MkfsMedia(range);

  media.zero({ start: 0, count: 1 });
  await media.persist();

  const seed = filesystemSeed(identity.uuid);
  const inodes = writeFirstInodes(media, geometry, { seed, nowSeconds: identity.nowSeconds });
  writeFirstFiles(media, geometry, identity.uuid);
  const used = usedRunsByGroup(geometry);
  const counts: GroupCounts[] = [];
  const descriptors: Buffer[] = [];
  for (const group of geometry.groups) {
    // Windows are mapped on the way, which takes 10 ms each: others are served in between.
    if (group.number % TURN_GROUPS === 0) await nextTurn();
    const { descriptor, count } = writeGroup(media, geometry, group, {
      seed,
      used: used.get(group.number) ?? [],
    });
    counts.push(count);
    descriptors.push(descriptor);
  }
  const superblock = (group: number): Buffer =>
    encodeSuperblock(geometry, identity, counts, { group, journalInode: inodes.journal });
  writeSuperCopies(media, geometry, { superblock, table: Buffer.concat(descriptors) });
  clearTail(media, range.length, used);
  await media.persist();

  media.patch(SUPERBLOCK_BLOCK, SUPERBLOCK_OFFSET, superblock(0));
  await media.persist();
}

/** Stores blocks of a partition and remembers which, to make them durable together. */
class MkfsMedia {
  readonly #range: BackingRange;
  #dirty: BlockRun[] = [];

  constructor(range: BackingRange) {
    // Stores past the end of a file that shrank would end the process with SIGBUS.
    range.backing.checkSize();
    this.#range = range;
  }

  /** Stores a block: the content, and zeros behind it. */
  put(number: number, content: Buffer): void {
    const block = Buffer.alloc(BLOCK_SIZE);
    block.set(content);
    this.patch(number, 0, block);
  }

  /** Stores some bytes of a block. */
  patch(number: number, offset: number, bytes: Buffer): void {
    this.#dirty.push({ start: number, count: 1 });
    this.#range.write(number * BLOCK_SIZE + offset, bytes);
  }

  /**
   * Sets blocks to zero. Holes of a sparse file stay holes: they read as zeros, also after a
   * cut, and the inode tables of 1 TiB would fill 16 GiB. On memory there are none, and all
   * is stored: what lay there before must not come back as inodes.
   */
  zero({ start, count }: BlockRun): void {
    for (const { offset, length } of this.#range.dataRuns(start * BLOCK_SIZE, count * BLOCK_SIZE)) {
      const first = Math.floor(offset / BLOCK_SIZE);
      const end = Math.ceil((offset + length) / BLOCK_SIZE);
      this.#dirty.push({ start: first, count: end - first });
      this.#range.fill(offset, length, 0);
    }
  }

  async persist(): Promise<void> {
    const runs = mergeRuns(this.#dirty);
    this.#dirty = [];
    for (const { start, count } of runs) {
      await this.#range.persist(start * BLOCK_SIZE, count * BLOCK_SIZE);
    }
    this.#range.backing.checkSize();
  }
}

function makeIdentity({ label, uuid = randomUUID(), clock }: MkfsOptions): MkfsIdentity {
  const labelBytes = Buffer.from(label);
  if (labelBytes.length > LABEL_BYTES_MAX || labelBytes.includes(0) || HALF_SURROGATE.test(label)) {
    throw new DaxdError(
      'EINVAL',
      `label ${JSON.stringify(label)} is not text of at most ${LABEL_BYTES_MAX} bytes`,
    );
  }
  const uuidBytes = parseUuid(uuid);
  if (uuidBytes === undefined) throw new DaxdError('EINVAL', `"${uuid}" is not a UUID`);
  return {
    uuid: uuidBytes,
    hashSeed: randomBytes(16),
    label: labelBytes,
    nowSeconds: Math.floor(clock.wallMs() / 1000),
  };
}

/** Zeroes every inode table and writes the four inodes of a new filesystem. */
function writeFirstInodes(
  media: MkfsMedia,
  geometry: MkfsGeometry,
  { seed, nowSeconds }: { readonly seed: number; readonly nowSeconds: number },
): { readonly journal: Buffer } {
  for (const group of geometry.groups) media.zero(group.inodeTable);
  const directory = ModeType.Directory;
  const put = (number: number, mode: number, links: number, blocks: BlockRun): Buffer => {
    const inode = encodeInode({ number, mode, links, blocks }, seed, nowSeconds);
    const at = (number - 1) * INODE_BYTES;
    const table = geometry.groups[0]?.inodeTable.start ?? 0;
    media.patch(table + Math.floor(at / BLOCK_SIZE), at % BLOCK_SIZE, inode);
    return inode;
  };
  put(MkfsInode.Root, directory | 0o755, 3, geometry.rootDirectory);
  put(MkfsInode.LostAndFound, directory | 0o700, 2, geometry.lostAndFound);
  put(MkfsInode.OrphanFile, ModeType.File | 0o600, 1, geometry.orphanFile);
  return { journal: put(MkfsInode.Journal, ModeType.File | 0o600, 1, geometry.journal) };
}

/** Contents of root, lost+found, orphan file and journal. */
function writeFirstFiles(media: MkfsMedia, geometry: MkfsGeometry, uuid: Buffer): void {
  const { rootDirectory, lostAndFound, orphanFile, journal } = geometry;
  const seed = filesystemSeed(uuid);
  const root = Buffer.alloc(BLOCK_SIZE);
  initDirectoryBlock(root, MkfsInode.Root, MkfsInode.Root);
  const name = Buffer.from('lost+found');
  const entry = { inode: MkfsInode.LostAndFound, entryType: EntryType.Directory, name };
  insertEntry(root, findRoom(root, name.length), entry);
  sealDirectoryBlock(root, inodeChecksumSeed(seed, MkfsInode.Root, 0));
  media.put(rootDirectory.start, root);

  for (let i = 0; i < lostAndFound.count; i++) {
    const block = Buffer.alloc(BLOCK_SIZE);
    if (i === 0) initDirectoryBlock(block, MkfsInode.LostAndFound, MkfsInode.Root);
    else clearDirectoryBlock(block);
    sealDirectoryBlock(block, inodeChecksumSeed(seed, MkfsInode.LostAndFound, 0));
    media.put(lostAndFound.start + i, block);
  }
  const orphanSeed = inodeChecksumSeed(seed, MkfsInode.OrphanFile, 0);
  for (let i = 0; i < orphanFile.count; i++) {
    const physical = orphanFile.start + i;
    media.put(physical, encodeOrphanBlock(orphanSeed, physical));
  }
  media.zero(journal);
  media.put(journal.start, encodeEmptyJournal(uuid, journal.count));
}

/** Both bitmaps of a group; gives its descriptor and counters. */
function writeGroup(
  media: MkfsMedia,
  geometry: MkfsGeometry,
  group: GroupPlan,
  { seed, used }: { readonly seed: number; readonly used: readonly BlockRun[] },
): { readonly descriptor: Buffer; readonly count: GroupCounts } {
  const { inodesPerGroup } = geometry;
  const usedInodes = group.number === 0 ? FIRST_GROUP_INODES : 0;
  const blocks = Buffer.alloc(BLOCK_SIZE);
  for (const { start, count } of used) setBits(blocks, start - group.blocks.start, count);
  const usedBlocks = used.reduce((sum, run) => sum + run.count, 0);
  // What lies past the end of the group counts as taken.
  setBits(blocks, group.blocks.count, BLOCKS_PER_GROUP - group.blocks.count);
  const inodes = Buffer.alloc(BLOCK_SIZE);
  setBits(inodes, 0, usedInodes);
  setBits(inodes, inodesPerGroup, BITMAP_BITS - inodesPerGroup);
  media.put(group.blockBitmap, blocks);
  media.put(group.inodeBitmap, inodes);

  const count = {
    freeBlocks: group.blocks.count - usedBlocks,
    freeInodes: inodesPerGroup - usedInodes,
    usedDirectories: group.number === 0 ? FIRST_GROUP_DIRECTORIES : 0,
  };
  const bitmaps = { blocks, inodes, inodesPerGroup, usedInodes };
  return { descriptor: encodeDescriptor(group, seed, count, bitmaps), count };
}

/** Superblock and descriptors of every group that has a copy, but for the first superblock. */
function writeSuperCopies(
  media: MkfsMedia,
  geometry: MkfsGeometry,
  { superblock, table }: { superblock: (group: number) => Buffer; readonly table: Buffer },
): void {
  assert(table.length === geometry.groups.length * DESCRIPTOR_BYTES, 'a descriptor a group');
  for (const { number, superCopy } of geometry.groups) {
    if (superCopy.count === 0) continue;
    if (number > 0) media.put(superCopy.start, superblock(number));
    for (let i = 1; i < superCopy.count; i++) {
      media.put(superCopy.start + i, table.subarray((i - 1) * BLOCK_SIZE, i * BLOCK_SIZE));
    }
  }
}

/** Every run of blocks in use, by the group that holds it; none crosses a group's end. */
function usedRunsByGroup(geometry: MkfsGeometry): Map<number, BlockRun[]> {
  const byGroup = new Map<number, BlockRun[]>();
  const add = (run: BlockRun): void => {
    if (run.count === 0) return;
    const group = Math.floor(run.start / BLOCKS_PER_GROUP);
    const end = run.start + run.count;
    assert(end <= (group + 1) * BLOCKS_PER_GROUP, 'no run of mkfs crosses a group');
    assert(end <= geometry.blocks, 'no run of mkfs passes the end');
    byGroup.set(group, [...(byGroup.get(group) ?? []), run]);
  };
  for (const group of geometry.groups) {
    add(group.superCopy);
    add({ start: group.blockBitmap, count: 1 });
    add({ start: group.inodeBitmap, count: 1 });
    add(group.inodeTable);
  }
  add(geometry.rootDirectory);
  add(geometry.lostAndFound);
  add(geometry.orphanFile);
  add(geometry.journal);
  return byGroup;
}

/** Clears what another format may have left at the end, where nothing of the new one lies. */
function clearTail(media: MkfsMedia, sizeBytes: number, used: Map<number, BlockRun[]>): void {
  const end = Math.floor(sizeBytes / BLOCK_SIZE);
  const start = end - TAIL_BYTES / BLOCK_SIZE;
  const isUsed = [...used.values()].flat().some((run) => run.start + run.count > start);
  assert(!isUsed, 'a filesystem ends with free blocks');
  media.zero({ start, count: end - start });
}

/** Sorts runs and joins those that touch. */
function mergeRuns(runs: readonly BlockRun[]): BlockRun[] {
  const merged: { start: number; count: number }[] = [];
  for (const { start, count } of runs.toSorted((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last !== undefined && start <= last.start + last.count) {
      last.count = Math.max(last.count, start + count - last.start);
    } else {
      merged.push({ start, count });
    }
  }
  return merged;
}
