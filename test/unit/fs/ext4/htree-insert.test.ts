import t from 'tap';

import {
  findRoom,
  insertEntry,
  packEntries,
  readEntries,
} from '../../../../src/fs/ext4/directory-block.js';
import { insertIndexed, makeIndexed } from '../../../../src/fs/ext4/htree-insert.js';
import { IndexWalk } from '../../../../src/fs/ext4/htree-walk.js';
import {
  indexLevels,
  IndexTable,
  initIndexNode,
  initIndexRoot,
  sealIndexBlock,
  setIndexLevels,
} from '../../../../src/fs/ext4/htree.js';
import { crc32c } from '../../../../src/lib/crc32c.js';
import { audit, DIRECTORY, entry, find, MemoryIndexBlocks, SEED } from './index-blocks.js';

/** Spread evenly, and even. */
function spreadHash(name: Uint8Array): number {
  return (crc32c(0, name) & ~1) >>> 0;
}

/** Few hashes, so that many names share one. */
function crowdedHash(name: Uint8Array): number {
  return (((crc32c(0, name) % 5) + 1) * 0x1000_0000) >>> 0;
}

function longName(i: number): Buffer {
  return Buffer.from(`${i}-`.padEnd(255, 'n'));
}

/** A directory whose one block is full, made indexed. */
function setUp(hashOf = spreadHash): { blocks: MemoryIndexBlocks; names: string[] } {
  const blocks = new MemoryIndexBlocks();
  const names: string[] = [];
  for (let i = 0; i < 15; i++) {
    const name = longName(i);
    names.push(name.toString());
    blocks.changeLeaf(0, (block) => {
      insertEntry(block, findRoom(block, name.length), entry(name));
    });
  }
  makeIndexed(blocks, hashOf, { parent: 2, hashVersion: 1 });
  return { blocks, names };
}

t.test('makeIndexed: the names go to two leaves, the block is the root', async (t) => {
  const { blocks, names } = setUp();
  t.equal(blocks.count, 3);
  t.strictSame(audit(blocks, spreadHash).toSorted(), names.toSorted());
  t.equal(indexLevels(blocks.index(0)), 0);
  t.strictSame(
    readEntries(blocks.index(0), 4096).map(({ inode, name }) => [inode, name.toString()]),
    [
      [DIRECTORY, '.'],
      [2, '..'],
    ],
  );
});

t.test('makeIndexed: unused records that fill the block leave one empty leaf', async (t) => {
  const blocks = new MemoryIndexBlocks();
  blocks.changeLeaf(0, (block) => {
    block.writeUInt16LE(12, 16);
    for (let offset = 24; offset < 4084; offset += 140) block.writeUInt16LE(140, offset + 4);
  });
  makeIndexed(blocks, spreadHash, { parent: 2, hashVersion: 1 });
  t.strictSame(audit(blocks, spreadHash), []);
  insertIndexed(blocks, spreadHash, entry(longName(1)));
  t.equal(audit(blocks, spreadHash).length, 1);
  t.equal(blocks.count, 2);
});

t.test(
  'insertIndexed: thousands of long names, to two levels and through node splits',
  async (t) => {
    const { blocks, names } = setUp();
    for (let i = 15; i < 10_000; i++) {
      const name = longName(i);
      insertIndexed(blocks, spreadHash, entry(name));
      names.push(name.toString());
      if (i === 4000) t.strictSame(audit(blocks, spreadHash).toSorted(), names.toSorted());
    }
    const root = blocks.index(0);
    t.equal(indexLevels(root), 1);
    t.ok(new IndexTable(root, 0).count > 1, 'a node was split');
    t.strictSame(audit(blocks, spreadHash).toSorted(), names.toSorted());

    blocks.read.clear();
    t.ok(find(blocks, spreadHash, longName(777)) > 0);
    t.equal(blocks.read.size, 3, 'root, node and leaf are read');
    t.equal(find(blocks, spreadHash, longName(20_000)), -1);
  },
);

t.test('insertIndexed: names of one hash go on in the next leaf, and each is found', async (t) => {
  const { blocks, names } = setUp(crowdedHash);
  for (let i = 15; i < 900; i++) {
    const name = longName(i);
    insertIndexed(blocks, crowdedHash, entry(name));
    names.push(name.toString());
  }
  t.strictSame(audit(blocks, crowdedHash).toSorted(), names.toSorted());
  for (let i = 0; i < 900; i++) t.ok(find(blocks, crowdedHash, longName(i)) > 0, `name ${i}`);
  const table = new IndexTable(blocks.index(0), 0);
  const continued = Array.from({ length: table.count }, (_, i) => table.hash(i) % 2);
  t.ok(continued.filter((bit) => bit === 1).length > 40, 'most leaves go on with a hash');
});

t.test('insertIndexed: a full index of two levels is ENOSPC, read along one path', async (t) => {
  const blocks = new MemoryIndexBlocks();
  const [nodes, leaves] = [507, 510];
  blocks.blocks.push(...Array.from({ length: nodes + leaves }, () => Buffer.alloc(4096)));
  blocks.changeIndex(0, (block) => {
    initIndexRoot(block, { self: DIRECTORY, parent: 2, hashVersion: 1, leaf: 1 });
    setIndexLevels(block, 1);
    const table = new IndexTable(block, 0);
    // All of the names lie below the first node.
    for (let i = 1; i < nodes; i++) table.insert(i, 0xfffff000 + 2 * i, 1 + i);
    t.ok(table.isFull);
  });
  blocks.changeIndex(1, (block) => {
    initIndexNode(block);
    const table = new IndexTable(block, 1);
    table.reset(nodes + 1);
    for (let i = 1; i < leaves; i++) table.insert(i, 0x800000 * i, nodes + 1 + i);
    t.ok(table.isFull);
  });
  const full = Array.from({ length: 15 }, (_, i) => entry(longName(i)));
  const leaf = new IndexWalk(blocks, spreadHash(longName(99))).leaf;
  blocks.changeLeaf(leaf, (block) => {
    packEntries(block, full);
  });
  blocks.read.clear();
  t.throws(
    () => {
      insertIndexed(blocks, spreadHash, entry(longName(99)));
    },
    { code: 'ENOSPC', message: /directory inode 12: its index of 2 levels is full/ },
  );
  t.strictSame([...blocks.read], [0, 1, leaf]);
  blocks.changeLeaf(leaf, (block) => {
    packEntries(block, full.slice(1));
  });
  insertIndexed(blocks, spreadHash, entry(longName(99)));
  t.equal(find(blocks, spreadHash, longName(99)), leaf, 'what still fits goes in');
});

/** Two nodes that name the same two leaves. */
function twoLevels(nodeHash: number): MemoryIndexBlocks {
  const blocks = new MemoryIndexBlocks();
  blocks.blocks.push(...Array.from({ length: 4 }, () => Buffer.alloc(4096)));
  blocks.changeIndex(0, (block) => {
    initIndexRoot(block, { self: DIRECTORY, parent: 2, hashVersion: 1, leaf: 1 });
    setIndexLevels(block, 1);
    new IndexTable(block, 0).insert(1, 1000, 2);
  });
  for (const logical of [1, 2]) {
    const node = blocks.blocks[logical] ?? Buffer.alloc(0);
    initIndexNode(node);
    const table = new IndexTable(node, logical);
    table.reset(3);
    table.insert(1, nodeHash, 4);
    sealIndexBlock(node, SEED, logical);
  }
  return blocks;
}

t.test('IndexWalk: hostile tables are EUCLEAN, and end', async (t) => {
  const named = { code: 'EUCLEAN', message: /^directory inode 12/ };
  t.throws(() => new IndexWalk(twoLevels(1002), 0), named, 'above what the root says');
  t.throws(() => new IndexWalk(twoLevels(500), 1000), named, 'below what the root says');

  const repeated = twoLevels(1000);
  for (const [logical, other] of [
    [1, 2],
    [2, 1],
  ] as const) {
    repeated.changeIndex(logical, (block) => {
      new IndexTable(block, logical).insert(2, 1000, other);
    });
  }
  // Two nodes of three leaves each, in five blocks.
  const walk = new IndexWalk(repeated, 0);
  t.throws(
    () => {
      while (walk.next() !== undefined);
    },
    named,
    'one leaf in two nodes',
  );
  const leafAsNode = twoLevels(1000);
  leafAsNode.blocks[1] = Buffer.alloc(4096);
  t.throws(() => new IndexWalk(leafAsNode, 0), named, 'a block that is no node');
});
