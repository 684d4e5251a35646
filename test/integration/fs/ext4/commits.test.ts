import { EventEmitter, once } from 'node:events';

import t from 'tap';

import { allocateBlocks } from '../../../../src/fs/ext4/allocator.js';
import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { MIB } from '../../../../src/lib/units.js';
import { requires } from '../../../support/requires.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck'];

t.test('transact: operations that arrive together share a commit', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { latency, operations } = open.fs.commitCounters;
  const before = latency.count;
  await Promise.all(Array.from({ length: 50 }, async (_, i) => await open.fs.create(`f${i}`)));
  t.equal(open.fs.commitCounters.operations, operations + 50);
  t.equal(latency.count, before + 1);
  await closeClean(t, open);
});

t.test('transact: what arrives during a commit shares the next', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t), {
    onPersist: async () => {
      await new Promise(setImmediate);
    },
  });
  const { latency } = open.fs.commitCounters;
  const before = latency.count;
  const first = open.fs.create('a');
  await new Promise(setImmediate);
  const others = [open.fs.create('b'), open.fs.create('c')];
  await Promise.all([first, ...others]);
  t.equal(latency.count, before + 2);
  await open.close();
});

t.test('transact: answers when the log has it durably, not before', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  let isBlocked = false;
  const gate = new EventEmitter();
  const unblocked = once(gate, 'unblock');
  const open = await openImage(newImage(t), {
    onPersist: async () => {
      if (isBlocked) await unblocked;
    },
  });
  isBlocked = true;
  let isDone = false;
  const made = open.fs.create('a').then(() => (isDone = true));
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  t.notOk(isDone);
  t.equal(open.fs.stat(open.fs.lookup('a')).size, 0, 'others see it before');
  let isDurable = false;
  const durable = open.fs.whenDurable()?.then(() => (isDurable = true));
  await new Promise(setImmediate);
  t.notOk(isDurable);
  gate.emit('unblock');
  await made;
  t.ok(isDone);
  await durable;
  t.ok(isDurable, 'who waits for all that is to be seen');
  t.equal(open.fs.whenDurable(), undefined, 'nothing to wait for');
  await open.close();
});

t.test('transact: a body that throws leaves no trace', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { blocks, inodes } = open.volume.free;
  await t.rejects(
    open.volume.transact((txn) => {
      allocateBlocks(txn, open.volume, { goal: 0, count: 1 });
      throw new DaxdError('ENOSPC', 'not now');
    }),
    { code: 'ENOSPC' },
  );
  t.strictSame(open.volume.free, { blocks, inodes });
  await closeClean(t, open);
});

t.test('transact: more blocks than the log takes is EFBIG, and changes nothing', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { transactionBlocksMax } = open.volume;
  t.ok(transactionBlocksMax >= 500 && transactionBlocksMax < 1024, `${transactionBlocksMax}`);
  await t.rejects(
    open.volume.transact((txn) => {
      for (let i = 0; i <= transactionBlocksMax; i++) txn.modify(3000 + i);
    }),
    { code: 'EFBIG' },
  );
  await closeClean(t, open);
});

t.test('transact: more than one log full in the same turn', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const half = open.volume.transactionBlocksMax;
  const before = open.fs.commitCounters.latency.count;
  // Free blocks far from everything else: what they hold does not matter.
  const change = async (from: number): Promise<void> => {
    await open.volume.transact((txn) => {
      for (let i = 0; i < half; i++) txn.modify(from + i)[0] = 1;
    });
  };
  await Promise.all([change(4000), change(5000), change(6000)]);
  t.ok(open.fs.commitCounters.latency.count - before >= 2);
  await closeClean(t, open);
});

t.test('transact: after an error of the media nothing of it is to be seen', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  let isBroken = false;
  const open = await openImage(newImage(t, [], 32 * MIB), {
    onPersist: () => {
      if (isBroken) throw new DaxdError('EIO', 'the media are gone');
    },
  });
  await open.fs.create('before');
  isBroken = true;
  const results = await Promise.allSettled([open.fs.create('a'), open.fs.create('b')]);
  for (const result of results) t.match(result, { status: 'rejected', reason: { code: 'EIO' } });
  t.ok(open.fs.readOnly);
  t.match(open.fs.failure, /media failed/);
  t.throws(() => open.fs.lookup('a'), { code: 'ENOENT' });
  t.equal(open.fs.stat(open.fs.lookup('before')).size, 0);
  await t.rejects(open.fs.create('c'), { code: 'EROFS', message: /media failed/ });
  await open.close();
});

t.test('an error of the media between two stores of an operation refuses the second', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  let onStore: (() => void) | undefined;
  const open = await openImage(newImage(t, [], 32 * MIB), { onPersist: () => onStore?.() });
  const number = await open.fs.create('file');
  await open.fs.write(number, 0, Buffer.alloc(4 * BLOCK_SIZE, 0x11));
  onStore = () => {
    onStore = undefined;
    // As the failed commit of somebody else does it.
    open.volume.refuseChanges('persisting to the media failed');
  };
  // Both edges are parts of blocks, zeroed one after the other.
  const punched = open.fs.punchHole(number, 10, 2 * BLOCK_SIZE);
  await t.rejects(punched, { code: 'EROFS', message: /media failed/ });
  await open.close();
});
