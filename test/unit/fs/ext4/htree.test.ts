import t from 'tap';

import {
  checkDirectoryBlock,
  ENTRIES_END,
  initDirectoryBlock,
  readEntries,
  sealDirectoryBlock,
} from '../../../../src/fs/ext4/directory-block.js';
import { clearIndexBlock, readIndexBlocks, sealIndexBlock } from '../../../../src/fs/ext4/htree.js';

const SEED = 0x89abcdef;
const DIRECTORY = 12;
const ROOT_TABLE = 0x20;
const NODE_TABLE = 8;

function place(logical: number) {
  return { directory: DIRECTORY, logical, firstInode: 11, inodesCount: 1000 };
}

function putTable(block: Buffer, table: number, blocks: readonly number[]): void {
  block.writeUInt16LE((4096 - table) / 8 - 1, table);
  block.writeUInt16LE(blocks.length, table + 2);
  blocks.forEach((logical, i) => {
    if (i > 0) block.writeUInt32LE(i * 1000, table + 8 * i);
    block.writeUInt32LE(logical, table + 8 * i + 4);
  });
}

function makeRoot(levels: number, blocks: readonly number[]): Buffer {
  const block = Buffer.alloc(4096);
  initDirectoryBlock(block, DIRECTORY, 2);
  block.fill(0, ENTRIES_END);
  block.writeUInt16LE(4084, 16);
  block.writeUInt8(1, 0x1c);
  block.writeUInt8(8, 0x1d);
  block.writeUInt8(levels, 0x1e);
  putTable(block, ROOT_TABLE, blocks);
  sealIndexBlock(block, SEED, 0);
  return block;
}

function makeNode(logical: number, blocks: readonly number[]): Buffer {
  const block = Buffer.alloc(4096);
  block.writeUInt16LE(4096, 4);
  putTable(block, NODE_TABLE, blocks);
  sealIndexBlock(block, SEED, logical);
  return block;
}

/** An index of two levels: root, nodes 1 and 2, leaves 3 to 6. */
function setUp() {
  const blocks = [makeRoot(1, [1, 2]), makeNode(1, [3, 4]), makeNode(2, [5, 6])];
  const read = (logical: number): Buffer => blocks[logical] ?? Buffer.alloc(4096);
  return { blocks, index: { count: 7, seed: SEED, read, place } };
}

t.test('readIndexBlocks: the blocks that hold no names', async (t) => {
  const { index } = setUp();
  t.strictSame([...readIndexBlocks(index)], [0, 1, 2]);
  const flat = { ...index, read: () => makeRoot(0, [1, 2, 3]) };
  t.strictSame([...readIndexBlocks(flat)], [0]);
});

t.test('readIndexBlocks: a wrong checksum is EBADMSG and names the block', async (t) => {
  for (const logical of [0, 1, 2]) {
    const { blocks, index } = setUp();
    const table = logical === 0 ? ROOT_TABLE : NODE_TABLE;
    blocks[logical]?.writeUInt32LE(999, table + 8);
    t.throws(() => readIndexBlocks(index), {
      code: 'EBADMSG',
      message: new RegExp(`directory inode 12, block ${logical}`),
    });
  }
});

t.test('readIndexBlocks: broken structure under a valid checksum is EUCLEAN', async (t) => {
  const broken: Record<string, (root: Buffer, node: Buffer) => void> = {
    'hash version': (root) => root.writeUInt8(6, 0x1c),
    'header length': (root) => root.writeUInt8(9, 0x1d),
    'too many levels': (root) => root.writeUInt8(2, 0x1e),
    'a node that points at the root': (_, node) => node.writeUInt32LE(0, NODE_TABLE + 4),
    'a node that points at itself': (_, node) => node.writeUInt32LE(1, NODE_TABLE + 4),
    'one leaf twice': (_, node) => node.writeUInt32LE(3, NODE_TABLE + 12),
    'a leaf of another node': (_, node) => node.writeUInt32LE(5, NODE_TABLE + 12),
    'past the end': (_, node) => node.writeUInt32LE(7, NODE_TABLE + 12),
    'not sorted': (root) => {
      putTable(root, ROOT_TABLE, [1, 2, 6]);
      root.writeUInt32LE(500, ROOT_TABLE + 16);
    },
  };
  for (const [title, damage] of Object.entries(broken)) {
    const { blocks, index } = setUp();
    const [root, node] = blocks;
    if (root === undefined || node === undefined) return;
    damage(root, node);
    sealIndexBlock(root, SEED, 0);
    sealIndexBlock(node, SEED, 1);
    t.throws(() => readIndexBlocks(index), { code: 'EUCLEAN', name: 'DaxdError' }, title);
  }
});

t.test(
  'readIndexBlocks: count and limit past the block are EUCLEAN, not a read past it',
  async (t) => {
    for (const [limit, count] of [
      [507, 508],
      [508, 2],
      [65535, 65535],
      [507, 0],
    ]) {
      const { blocks, index } = setUp();
      blocks[0]?.writeUInt16LE(limit ?? 0, ROOT_TABLE);
      blocks[0]?.writeUInt16LE(count ?? 0, ROOT_TABLE + 2);
      t.throws(() => readIndexBlocks(index), { code: 'EUCLEAN', name: 'DaxdError' });
    }
  },
);

t.test('readIndexBlocks: a linear block under the index flag is EUCLEAN', async (t) => {
  const linear = Buffer.alloc(4096);
  initDirectoryBlock(linear, DIRECTORY, 2);
  sealDirectoryBlock(linear, SEED);
  const index = { count: 1, seed: SEED, read: () => linear, place };
  t.throws(() => readIndexBlocks(index), { code: 'EUCLEAN', name: 'DaxdError' });
});

t.test('clearIndexBlock: root and node become leaves that pass the check', async (t) => {
  const { blocks } = setUp();
  blocks.forEach((block, logical) => {
    clearIndexBlock(block, SEED, logical);
    checkDirectoryBlock(block, SEED, place(logical));
    t.equal(readEntries(block, ENTRIES_END).length, logical === 0 ? 2 : 0);
  });
});
