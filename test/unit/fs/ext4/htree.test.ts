import t from 'tap';

import { initDirectoryBlock, sealDirectoryBlock } from '../../../../src/fs/ext4/directory-block.js';
import {
  checkIndexBlock,
  hashVersion,
  indexLevels,
  IndexTable,
  initIndexNode,
  initIndexRoot,
  sealIndexBlock,
  setIndexLevels,
} from '../../../../src/fs/ext4/htree.js';
import { DIRECTORY, place, SEED } from './index-blocks.js';

const ROOT_TABLE = 0x20;
const NODE_TABLE = 8;
const COUNT = 7;

function fill(table: IndexTable, blocks: readonly number[]): void {
  blocks.forEach((logical, i) => {
    if (i === 0) table.reset(logical);
    else table.insert(i, i * 1000, logical);
  });
}

/** A root that names nodes 1 and 2, and node 1 that names leaves 3 and 4. */
function setUp(): { root: Buffer; node: Buffer } {
  const root = Buffer.alloc(4096);
  initIndexRoot(root, { self: DIRECTORY, parent: 2, hashVersion: 1, leaf: 1 });
  setIndexLevels(root, 1);
  fill(new IndexTable(root, 0), [1, 2]);
  sealIndexBlock(root, SEED, 0);
  const node = Buffer.alloc(4096);
  initIndexNode(node);
  fill(new IndexTable(node, 1), [3, 4]);
  sealIndexBlock(node, SEED, 1);
  return { root, node };
}

function check(block: Buffer, logical: number): void {
  checkIndexBlock(block, { seed: SEED, count: COUNT, place: place(logical) });
}

function badChecksum(logical: number) {
  return { code: 'EBADMSG', message: new RegExp(`directory inode 12, block ${logical}`) };
}

t.test('checkIndexBlock: what was made passes, and says what was put in', async (t) => {
  const { root, node } = setUp();
  check(root, 0);
  check(node, 1);
  t.equal(hashVersion(root), 1);
  t.equal(indexLevels(root), 1);
  const table = new IndexTable(root, 0);
  t.strictSame([table.count, table.child(0), table.child(1)], [2, 1, 2]);
  t.strictSame([table.hash(0), table.hash(1)], [0, 1000]);
  t.equal(root.readUInt16LE(ROOT_TABLE), 507, 'one less than fits, for the checksum');
  t.equal(node.readUInt16LE(NODE_TABLE), 510);
});

t.test('checkIndexBlock: a wrong checksum is EBADMSG and names the block', async (t) => {
  const { root, node } = setUp();
  root.writeUInt32LE(999, ROOT_TABLE + 8);
  node.writeUInt32LE(999, NODE_TABLE + 8);
  t.throws(() => {
    check(root, 0);
  }, badChecksum(0));
  t.throws(() => {
    check(node, 1);
  }, badChecksum(1));
});

t.test('checkIndexBlock: broken structure under a valid checksum is EUCLEAN', async (t) => {
  const broken: Record<string, (root: Buffer, node: Buffer) => void> = {
    'hash version': (root) => root.writeUInt8(3, 0x1c),
    'header length': (root) => root.writeUInt8(9, 0x1d),
    'reserved word': (root) => root.writeUInt32LE(1, 0x18),
    'too many levels': (root) => root.writeUInt8(2, 0x1e),
    'a node that points at the root': (_, node) => node.writeUInt32LE(0, NODE_TABLE + 4),
    'a node that points at itself': (_, node) => node.writeUInt32LE(1, NODE_TABLE + 4),
    'one leaf twice': (_, node) => node.writeUInt32LE(3, NODE_TABLE + 12),
    'past the end': (_, node) => node.writeUInt32LE(COUNT, NODE_TABLE + 12),
    'not sorted': (root) => {
      fill(new IndexTable(root, 0), [1, 2, 6]);
      root.writeUInt32LE(500, ROOT_TABLE + 16);
    },
    'a node with a name in it': (_, node) => node.writeUInt32LE(20, 0),
  };
  for (const [title, damage] of Object.entries(broken)) {
    const { root, node } = setUp();
    damage(root, node);
    sealIndexBlock(root, SEED, 0);
    sealIndexBlock(node, SEED, 1);
    const checkBoth = (): void => {
      check(root, 0);
      check(node, 1);
    };
    t.throws(checkBoth, { code: 'EUCLEAN', message: /^directory inode 12, block [01]/ }, title);
  }
});

t.test(
  'checkIndexBlock: count and limit past the block are EUCLEAN, not a read past it',
  async (t) => {
    for (const [limit, count] of [
      [507, 508],
      [508, 2],
      [65535, 65535],
      [507, 0],
    ]) {
      const { root } = setUp();
      root.writeUInt16LE(limit ?? 0, ROOT_TABLE);
      root.writeUInt16LE(count ?? 0, ROOT_TABLE + 2);
      t.throws(
        () => {
          check(root, 0);
        },
        { code: 'EUCLEAN', name: 'DaxdError' },
      );
    }
  },
);

t.test('checkIndexBlock: a linear block under the index flag is EUCLEAN', async (t) => {
  const linear = Buffer.alloc(4096);
  initDirectoryBlock(linear, DIRECTORY, 2);
  sealDirectoryBlock(linear, SEED);
  t.throws(
    () => {
      check(linear, 0);
    },
    { code: 'EUCLEAN', name: 'DaxdError' },
  );
});

t.test('IndexTable: search gives the last pair that is not above', async (t) => {
  const { root } = setUp();
  const table = new IndexTable(root, 0);
  fill(table, [1, 2, 3, 4]);
  const found = [0, 999, 1000, 1001, 2000, 2999, 3000, 0xfffffffc].map((hash) =>
    table.search(hash),
  );
  t.strictSame(found, [0, 0, 1, 1, 2, 2, 3, 3]);
  table.reset(5);
  t.equal(table.search(0xfffffffc), 0);
});

t.test('IndexTable: insert and moveFrom keep the order and the limits', async (t) => {
  const { node } = setUp();
  const table = new IndexTable(node, 1);
  fill(table, [1, 2, 3, 4, 5]);
  table.insert(1, 500, 9);
  t.strictSame(
    [0, 1, 2, 5].map((i) => table.child(i)),
    [1, 9, 2, 5],
  );
  const other = Buffer.alloc(4096);
  initIndexNode(other);
  const target = new IndexTable(other, 2);
  table.moveFrom(3, target);
  t.strictSame([table.count, target.count], [3, 3]);
  t.strictSame(
    [0, 1, 2].map((i) => target.child(i)),
    [3, 4, 5],
  );
  t.strictSame(
    [0, 1, 2].map((i) => target.hash(i)),
    [0, 3000, 4000],
  );
  t.equal(other.readUInt16LE(NODE_TABLE), 510);
  t.notOk(
    node.subarray(NODE_TABLE + 8 * 3, 4088).some((byte) => byte !== 0),
    'nothing is left',
  );
});
