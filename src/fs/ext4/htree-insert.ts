import { assert } from '../../lib/assert.js';
import { DaxdError } from '../../lib/errno.js';
import {
  findRoom,
  insertEntry,
  moveFirstRecords,
  packEntries,
  readRecords,
} from './directory-block.js';
import type { DirectoryEntry, DirectoryRecord } from './directory-block.js';
import type { NameHash } from './dx-hash.js';
import { IndexWalk } from './htree-walk.js';
import type { IndexBlocks, IndexStep } from './htree-walk.js';
import {
  INDEX_LEVELS_MAX,
  indexLevels,
  IndexTable,
  initIndexNode,
  initIndexRoot,
  setIndexLevels,
} from './htree.js';
import { BLOCK_SIZE } from './layout.js';

/** The blocks of an indexed directory within a transaction that changes them. */
export interface ChangingIndexBlocks extends IndexBlocks {
  /** Has `change` change an index block, and seals it. */
  changeIndex(logical: number, change: (block: Buffer) => void): void;
  /** Has `change` change a block of names, and seals it. */
  changeLeaf(logical: number, change: (block: Buffer) => void): void;
  /** Adds an index block that `fill` makes of a zeroed one, and gives its logical number. */
  appendIndex(fill: (block: Buffer, logical: number) => void): number;
  /** Adds a block of names. */
  appendLeaf(fill: (block: Buffer) => void): number;
}

/** A record of a leaf with the hash of its name. */
interface HashedRecord extends DirectoryRecord {
  readonly hash: number;
}

/**
 * Adds a name where its hash belongs. A leaf without room is split at its median, and before
 * that what is full above it: a node in halves, a root by a level below it.
 *
 * @throws DaxdError ENOSPC when the index is full or no block is left; EUCLEAN, EBADMSG
 * @kernel ext4_dx_add_entry (fs/ext4/namei.c)
 */
export function insertIndexed(
  blocks: ChangingIndexBlocks,
  hashOf: NameHash,
  entry: DirectoryEntry,
): void {
  const hash = hashOf(entry.name);
  let walk = new IndexWalk(blocks, hash);
  let { leaf } = walk;
  let room = findRoom(blocks.leaf(leaf), entry.name.length);
  if (room < 0) {
    while (makeRoomAbove(blocks, walk)) walk = new IndexWalk(blocks, hash);
    const split = splitLeaf(blocks, hashOf, walk);
    if (split !== undefined && hash >= split.boundary) leaf = split.added;
    room = findRoom(blocks.leaf(leaf), entry.name.length);
  }
  blocks.changeLeaf(leaf, (block) => {
    insertEntry(block, room, entry);
  });
}

/**
 * Gives a linear directory of one block an index: its names move to a block of their own,
 * which is split at once, and block 0 becomes the root.
 *
 * @throws DaxdError ENOSPC
 * @kernel make_indexed_dir (fs/ext4/namei.c)
 */
export function makeIndexed(
  blocks: ChangingIndexBlocks,
  hashOf: NameHash,
  root: { readonly parent: number; readonly hashVersion: number },
): void {
  const first = blocks.leaf(0);
  const leaf = blocks.appendLeaf((block) => {
    moveFirstRecords(block, first);
  });
  blocks.changeIndex(0, (block) => {
    initIndexRoot(block, { ...root, self: blocks.directory, leaf });
  });
  splitLeaf(blocks, hashOf, new IndexWalk(blocks, 0));
}

/** Splits what is full on the way to the leaf; false where nothing is. */
function makeRoomAbove(blocks: ChangingIndexBlocks, { steps }: IndexWalk): boolean {
  const [root, node] = steps;
  assert(root !== undefined, 'a walk begins at the root');
  if (node === undefined) {
    if (!root.table.isFull) return false;
    growRoot(blocks);
    return true;
  }
  if (!node.table.isFull) return false;
  if (root.table.isFull) {
    throw new DaxdError(
      'ENOSPC',
      `directory inode ${blocks.directory}: its index of ${INDEX_LEVELS_MAX + 1} levels is full`,
    );
  }
  splitNode(blocks, root, node);
  return true;
}

/** Moves all pairs of the root to a node below it. */
function growRoot(blocks: ChangingIndexBlocks): void {
  blocks.changeIndex(0, (root) => {
    assert(indexLevels(root) < INDEX_LEVELS_MAX, 'a root with nodes below it is split by node');
    const table = new IndexTable(root, 0);
    const node = blocks.appendIndex((block, logical) => {
      initIndexNode(block);
      table.moveFrom(0, new IndexTable(block, logical));
    });
    table.reset(node);
    setIndexLevels(root, 1);
  });
}

/** Moves the upper half of a node's pairs to a new one, which the root names behind it. */
function splitNode(blocks: ChangingIndexBlocks, root: IndexStep, node: IndexStep): void {
  const half = Math.floor(node.table.count / 2);
  const boundary = node.table.hash(half);
  let added = 0;
  blocks.changeIndex(node.logical, (block) => {
    added = blocks.appendIndex((fresh, logical) => {
      initIndexNode(fresh);
      new IndexTable(block, node.logical).moveFrom(half, new IndexTable(fresh, logical));
    });
  });
  blocks.changeIndex(root.logical, (block) => {
    new IndexTable(block, root.logical).insert(root.at + 1, boundary, added);
  });
}

/**
 * Moves the names of a leaf with the higher hashes to a new one, which the index names behind
 * it; about half of the bytes. Names of one hash may be parted, then the index says so.
 *
 * @returns the lowest hash that moved, and the new leaf; undefined where it was enough to
 *   close up the names
 * @kernel do_split (fs/ext4/namei.c)
 */
function splitLeaf(
  blocks: ChangingIndexBlocks,
  hashOf: NameHash,
  { leaf, steps }: IndexWalk,
): { readonly boundary: number; readonly added: number } | undefined {
  // Field by field: a spread takes some times as long, and a leaf holds hundreds.
  const records: HashedRecord[] = readRecords(blocks.leaf(leaf)).map(
    ({ inode, entryType, name, recLen }) => ({
      inode,
      entryType,
      name,
      recLen,
      hash: hashOf(name),
    }),
  );
  const sorted = records.toSorted((a, b) => a.hash - b.hash);
  const cut = medianOf(sorted);
  const [below, above] = [sorted[cut - 1], sorted[cut]];
  if (below === undefined || above === undefined) {
    // Unused records took the room: nothing is there to be parted.
    blocks.changeLeaf(leaf, (block) => {
      packEntries(block, records);
    });
    return undefined;
  }

  const moved = sorted.slice(cut);
  const added = blocks.appendLeaf((block) => {
    packEntries(block, moved);
  });
  const isMoved = new Set<HashedRecord>(moved);
  blocks.changeLeaf(leaf, (block) => {
    packEntries(
      block,
      records.filter((record) => !isMoved.has(record)),
    );
  });
  const parent = steps.at(-1);
  assert(parent !== undefined, 'a leaf hangs in an index');
  const continued = above.hash === below.hash ? 1 : 0;
  blocks.changeIndex(parent.logical, (block) => {
    new IndexTable(block, parent.logical).insert(parent.at + 1, above.hash + continued, added);
  });
  return { boundary: above.hash, added };
}

/** How many of the sorted records stay, so that those that go have about half of the block. */
function medianOf(sorted: readonly HashedRecord[]): number {
  let bytes = 0;
  for (let i = sorted.length; i > 0; i--) {
    const recLen = sorted[i - 1]?.recLen ?? 0;
    if (bytes + recLen / 2 > BLOCK_SIZE / 2) return i;
    bytes += recLen;
  }
  return Math.floor(sorted.length / 2);
}
