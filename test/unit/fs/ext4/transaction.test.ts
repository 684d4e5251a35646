import t from 'tap';

import { commitStores, persistStores } from '../../../../src/fs/ext4/commit.js';
import { Transaction } from '../../../../src/fs/ext4/transaction.js';
import { InvariantError } from '../../../../src/lib/assert.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../../src/media/memory-backing.js';

interface Media {
  readonly range: BackingRange;
  readonly persisted: [number, number][];
  readonly block: (n: number) => Buffer;
}

function setUp(): Media {
  const persisted: [number, number][] = [];
  const backing = new MemoryBacking(16 * 4096, {
    onPersist: (offset, length) => {
      persisted.push([offset, length]);
    },
  });
  const range = new BackingRange(backing, 0, backing.sizeBytes);
  return { range, persisted, block: (n) => range.view(n * 4096, 4096) };
}

t.test('modify: a private copy, seen through the transaction alone', async (t) => {
  const media = setUp();
  const txn = new Transaction(media);
  txn.modify(3)[0] = 1;
  t.equal(txn.modify(3)[0], 1, 'the same copy again');
  t.equal(txn.block(3)[0], 1);
  t.equal(txn.block(4)[0], 0);
  t.equal(media.block(3)[0], 0, 'the media are untouched');
});

t.test('fresh: zeros, whatever the media hold; forget drops a change', async (t) => {
  const media = setUp();
  media.block(3).fill(9);
  const txn = new Transaction(media);
  t.equal(txn.fresh(3)[7], 0);
  t.ok(txn.isFresh(3));
  txn.forget(3);
  t.equal(txn.block(3)[7], 9);
  t.strictSame([...txn.changes.keys()], []);
});

t.test('sealAtCommit: once a key, and not for a forgotten block', async (t) => {
  const txn = new Transaction(setUp());
  const sealed: string[] = [];
  const seal = (name: string) => () => sealed.push(name);
  txn.sealAtCommit('a', seal('a'));
  txn.sealAtCommit('a', seal('again'));
  txn.sealAtCommit('block 5', seal('5'));
  t.ok(txn.isSealDue('a'));
  txn.forget(5);
  txn.seal();
  t.strictSame(sealed, ['a']);
  t.throws(() => txn.modify(1), InvariantError, 'a sealed one takes no change');
  t.throws(() => txn.fresh(1), InvariantError);
});

t.test('commitStores: lines that differ, fresh blocks whole, ascending', async (t) => {
  const media = setUp();
  media.block(7).fill(9);
  const txn = new Transaction(media);
  txn.fresh(7);
  const changed = txn.modify(2);
  changed[100] = 1;
  changed[128] = 2;
  changed[4095] = 3;
  txn.modify(5);
  const stores = commitStores(media, txn);
  t.strictSame(stores, [
    { offset: 2 * 4096 + 64, length: 128 },
    { offset: 2 * 4096 + 4032, length: 64 },
    { offset: 7 * 4096, length: 4096 },
  ]);
  t.equal(media.block(2)[100], 1);
  t.equal(media.block(2)[4095], 3);
  t.ok(media.block(7).equals(Buffer.alloc(4096)));
});

t.test('persistStores: what lies close together in one call', async (t) => {
  const media = setUp();
  await persistStores(media.range, [
    { offset: 0, length: 64 },
    { offset: 128, length: 64 },
    { offset: 4096, length: 4096 },
    { offset: 5 * 4096, length: 64 },
  ]);
  t.strictSame(media.persisted, [
    [0, 8192],
    [5 * 4096, 64],
  ]);
});
