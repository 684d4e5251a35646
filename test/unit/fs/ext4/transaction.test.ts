import t from 'tap';

import { Transaction } from '../../../../src/fs/ext4/transaction.js';
import type { BlockSource } from '../../../../src/fs/ext4/transaction.js';
import { InvariantError } from '../../../../src/lib/assert.js';

function setUp(): BufferedMedia {
  return new BufferedMedia();
}

/** Sixteen blocks of zeros, and what was verified of them. */
class BufferedMedia implements BlockSource {
  readonly #blocks = Array.from({ length: 16 }, () => Buffer.alloc(4096));
  readonly #roles = new Map<number, number>();

  block(blockNumber: number): Buffer {
    return this.#blocks[blockNumber] ?? Buffer.alloc(0);
  }

  isVerified(blockNumber: number, role: number): boolean {
    return this.#roles.get(blockNumber) === role;
  }

  markVerified(blockNumber: number, role: number): void {
    this.#roles.set(blockNumber, role);
  }

  isPartVerified(): boolean {
    return false;
  }

  markPartVerified(): void {}
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

t.test('sealAtCommit: what was asked for last comes first', async (t) => {
  const txn = new Transaction(setUp());
  const sealed: string[] = [];
  for (const name of ['descriptor', 'bitmap', 'descriptor']) {
    txn.sealAtCommit(name, () => sealed.push(name));
  }
  txn.seal();
  t.strictSame(sealed, ['bitmap', 'descriptor']);
});

t.test('sealAtCommit: once a key, and not for a forgotten block', async (t) => {
  const txn = new Transaction(setUp());
  const sealed: string[] = [];
  const seal = (name: string) => () => sealed.push(name);
  txn.sealAtCommit('a', seal('a'));
  txn.sealAtCommit('a', seal('again'));
  txn.sealAtCommit('block 5', seal('5'));
  txn.forget(5);
  txn.seal();
  t.strictSame(sealed, ['a']);
  t.throws(() => txn.modify(1), InvariantError, 'a sealed one takes no change');
  t.throws(() => txn.fresh(1), InvariantError);
});

t.test('forget: the block is revoked, and a role is not kept', async (t) => {
  const txn = new Transaction(setUp());
  txn.fresh(5);
  txn.markVerified(5, 77);
  t.ok(txn.isVerified(5, 77));
  t.notOk(txn.isVerified(5, 78), 'another role is another matter');
  txn.forget(5);
  t.notOk(txn.isVerified(5, 77));
  t.strictSame([...txn.revoked], [5]);
});

t.test('isVerified: a changed block keeps its role, a fresh one has none', async (t) => {
  const media = setUp();
  media.markVerified(3, 77);
  const txn = new Transaction(media);
  txn.modify(3);
  t.ok(txn.isVerified(3, 77));
  txn.fresh(3);
  t.notOk(txn.isVerified(3, 77));
  txn.markVerified(4, 78);
  t.ok(media.isVerified(4, 78), 'what was verified unchanged is so for all');
});
