import t from 'tap';

import { newBlock } from '../../../../src/fs/ext4/block-copy.js';
import { BufferCache } from '../../../../src/fs/ext4/buffer-cache.js';
import { CompoundTransaction } from '../../../../src/fs/ext4/compound-transaction.js';
import { Transaction } from '../../../../src/fs/ext4/transaction.js';
import type { BlockSource } from '../../../../src/fs/ext4/transaction.js';

interface SetUp {
  readonly cache: BufferCache;
  /** Joins a change of the first byte of block 3. */
  readonly change: (compound: CompoundTransaction, value: number) => void;
}

function setUp(): SetUp {
  const cache = new BufferCache(() => newBlock().fill(0));
  const source: BlockSource = {
    block: (number) => cache.get(number).bytes,
    isVerified: () => true,
    markVerified: () => {},
    isPartVerified: () => true,
    markPartVerified: () => {},
  };
  const change = (compound: CompoundTransaction, value: number): void => {
    const txn = new Transaction(source);
    txn.modify(3)[0] = value;
    txn.seal();
    compound.join(txn, cache);
  };
  return { cache, change };
}

/** Whether this memory is handed out again. */
function isReused(block: Buffer | undefined): boolean {
  return Array.from({ length: 1000 }, () => newBlock()).includes(block ?? Buffer.alloc(0));
}

t.test('join: an older version is memory to reuse once what replaced it is durable', async (t) => {
  const { cache, change } = setUp();
  const [first, second] = [new CompoundTransaction(), new CompoundTransaction()];
  change(first, 1);
  // While the first is under way the next one takes joins.
  change(second, 2);
  const logged = first.blocks.get(3);
  t.notOk(isReused(logged), 'the first is not in its place');
  t.equal(logged?.[0], 1);
  first.settle();
  t.notOk(isReused(logged), 'the second may fail still');
  second.settle();
  t.ok(isReused(logged));
  t.equal(cache.get(3).bytes[0], 2);
});

t.test('join: two operations of one transaction that change one block', async (t) => {
  const { cache, change } = setUp();
  const compound = new CompoundTransaction();
  change(compound, 1);
  const replaced = compound.blocks.get(3);
  change(compound, 2);
  t.notOk(isReused(replaced));
  compound.settle();
  t.ok(isReused(replaced));
  t.notOk(isReused(compound.blocks.get(3)), 'the newest version is in the cache');
  t.equal(cache.get(3).bytes[0], 2);
});

t.test('fail: nothing is reused', async (t) => {
  const { change } = setUp();
  const [first, second] = [new CompoundTransaction(), new CompoundTransaction()];
  change(first, 1);
  change(second, 2);
  second.fail(new Error('gone'));
  t.notOk(isReused(first.blocks.get(3)));
});
