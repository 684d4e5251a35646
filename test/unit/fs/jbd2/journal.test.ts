import t from 'tap';

import { JBD2_MAGIC } from '../../../../src/fs/jbd2/layout.js';
import { readLogged } from '../../../../src/fs/jbd2/recovery.js';
import { InvariantError } from '../../../../src/lib/assert.js';
import { filled, newLog } from './set-up.js';

const NONE: ReadonlySet<number> = new Set();

t.test('commit: what was committed is what a replay finds, the newest copy of each', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  await journal.commit({ blocks: new Map([[3, filled(1)], [4, filled(2)]]), revoked: NONE }); // prettier-ignore
  await journal.commit({ blocks: new Map([[3, filled(5)]]), revoked: NONE });
  t.strictSame(log.replayed(), [[3, 5], [4, 2]]); // prettier-ignore
  t.equal(log.plan().transactions, 2);
  t.equal(log.plan().nextSequence, 4, 'one number more is left out');
});

t.test('commit: a revoked block stays out, unless it is logged again later', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  await journal.commit({ blocks: new Map([[3, filled(1)], [4, filled(2)]]), revoked: NONE }); // prettier-ignore
  await journal.commit({ blocks: new Map([[5, filled(3)]]), revoked: new Set([3, 4]) });
  t.strictSame(log.replayed(), [[5, 3]]);
  await journal.commit({ blocks: new Map([[4, filled(9)]]), revoked: NONE });
  t.strictSame(log.replayed(), [[5, 3], [4, 9]]); // prettier-ignore
});

t.test('commit: a block that begins with the magic comes back with it', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  const block = filled(1);
  block.writeUInt32BE(JBD2_MAGIC, 0);
  await journal.commit({ blocks: new Map([[3, block]]), revoked: NONE });
  const copy = log.plan().homes.get(3);
  t.ok(copy !== undefined && readLogged(log.area, copy).equals(block));
});

t.test(
  'commit: a log that is full starts anew, and only then its superblock changes',
  async (t) => {
    const log = newLog();
    const journal = log.open();
    await journal.start();
    const before = log.area.read(0);
    // Three blocks each: ten of them fill the 31 blocks but for one.
    for (let i = 0; i < 10; i++) {
      await journal.commit({ blocks: new Map([[3, filled(i)]]), revoked: NONE });
    }
    t.ok(log.area.read(0).equals(before));
    await journal.commit({ blocks: new Map([[4, filled(99)]]), revoked: NONE });
    t.notOk(log.area.read(0).equals(before));
    t.strictSame(log.replayed(), [[4, 99]], 'what was in place already is not replayed');
  },
);

t.test('fits: what the whole log holds, records included', async (t) => {
  const journal = newLog().open();
  t.ok(journal.fits(29, 0), '31 blocks less descriptor and commit');
  t.notOk(journal.fits(30, 0));
  t.ok(journal.fits(28, 1));
  t.notOk(journal.fits(29, 1));
});

t.test('stop: leaves an empty log, durably, and takes no more', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  await journal.commit({ blocks: new Map([[3, filled(1)]]), revoked: NONE });
  await journal.stop();
  t.strictSame(log.replayed(), []);
  t.equal(log.open().superblock.sequence, 2);
  await t.rejects(journal.commit({ blocks: new Map(), revoked: NONE }), InvariantError);
});

t.test('JournalSuperblock: a torn one is taken from the copy made before it', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  const whole = log.area.read(0).subarray(0, 1024);
  const torn = Buffer.from(whole);
  torn.writeUInt32BE(77, 0x18);
  log.area.write(0, torn);
  t.throws(() => log.open(), { code: 'EBADMSG', message: /journal superblock/ });
  log.area.write(0, whole, 1024);
  t.equal(log.open().superblock.sequence, 1);
});

t.test('JournalSuperblock: what is not to be believed is refused', async (t) => {
  const cases: readonly (readonly [string, number, number, string])[] = [
    ['no magic', 0x00, 5, 'EUCLEAN'],
    ['version 1', 0x04, 3, 'EUCLEAN'],
    ['block size', 0x0c, 1024, 'EUCLEAN'],
    ['longer than its file', 0x10, 33, 'EUCLEAN'],
    ['first block 0', 0x14, 0, 'EUCLEAN'],
    ['starts past its end', 0x1c, 32, 'EUCLEAN'],
    ['fast commits', 0x28, 0x20, 'EOPNOTSUPP'],
    ['ro_compat features', 0x2c, 1, 'EOPNOTSUPP'],
  ];
  for (const [name, offset, value, code] of cases) {
    const log = newLog();
    const jsb = log.area.read(0);
    jsb.writeUInt32BE(value, offset);
    log.area.write(0, jsb);
    t.throws(() => log.open(), { name: 'DaxdError', code }, name);
  }
});
