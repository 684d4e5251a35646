import t from 'tap';

import { copyBlock, newBlock, reuseBlocks } from '../../../../src/fs/ext4/block-copy.js';

/** Takes all blocks that wait for reuse, and then some. */
function takeMany(): Set<Buffer> {
  return new Set(Array.from({ length: 1000 }, () => newBlock()));
}

t.test('newBlock: no two callers have the same memory', async (t) => {
  const blocks = [...takeMany()];
  blocks.forEach((block, i) => block.fill(i % 251));
  t.ok(blocks.every((block, i) => block.length === 4096 && block.every((b) => b === i % 251)));
});

t.test('reuseBlocks: what was given back comes again, once', async (t) => {
  const [one, two] = [newBlock(), newBlock()];
  reuseBlocks([one, two]);
  const taken = [...takeMany()];
  t.equal(taken.filter((block) => block === one).length, 1);
  t.equal(taken.filter((block) => block === two).length, 1);
});

t.test('reuseBlocks: keeps 1 MiB at most', async (t) => {
  takeMany();
  const many = takeMany();
  reuseBlocks([...many]);
  t.equal([...takeMany()].filter((block) => many.has(block)).length, 256);
});

t.test('copyBlock: a copy of its own', async (t) => {
  const block = Buffer.alloc(4096, 7);
  const copy = copyBlock(block);
  block.fill(8);
  t.ok(copy.equals(Buffer.alloc(4096, 7)));
});
