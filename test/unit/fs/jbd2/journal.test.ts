import t from 'tap';

import { JBD2_MAGIC, JOURNAL_COMPAT_CHECKSUM, JsbField } from '../../../../src/fs/jbd2/layout.js';
import { readLogged } from '../../../../src/fs/jbd2/recovery.js';
import { InvariantError } from '../../../../src/lib/assert.js';
import { filled, LOG_START, newLog, watchStores } from './set-up.js';

const NONE: ReadonlySet<number> = new Set();
/** Blocks of a log that is used in stretches, each of 75. */
const LONG_BLOCKS = 301;

t.test('commit: what was committed is what a replay finds, the newest copy of each', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  await journal.commit({ blocks: new Map([[3, filled(1)], [4, filled(2)]]), revoked: NONE }); // prettier-ignore
  await journal.commit({ blocks: new Map([[3, filled(5)]]), revoked: NONE });
  t.strictSame(log.replayed(), [[3, 5], [4, 2]]); // prettier-ignore
  t.equal(log.plan().transactions, 2);
});

t.test('start: clears checksums of version 1, whatever else the word holds', async (t) => {
  for (const compat of [0x1, 0x9e7dc80b, 0xffffffff, 0x80000000]) {
    const log = newLog();
    const word = Buffer.alloc(4);
    word.writeUInt32BE(compat);
    log.area.write(0, word, JsbField.FeatureCompat);
    await log.open().start();
    const found = log.area.read(0).readUInt32BE(JsbField.FeatureCompat);
    t.equal(found, (compat & ~JOURNAL_COMPAT_CHECKSUM) >>> 0, compat.toString(16));
  }
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

t.test('commit: a log that is full moves its start to its end, and goes round', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  const before = log.area.read(0);
  // Three blocks each: nine of them, and four that stay free, fill the 31 blocks.
  for (let i = 0; i < 9; i++) {
    await journal.commit({ blocks: new Map([[3, filled(i)]]), revoked: NONE });
  }
  t.ok(log.area.read(0).equals(before));
  for (let i = 0; i < 100; i++) {
    await journal.commit({ blocks: new Map([[4, filled(i)], [5, filled(i)]]), revoked: NONE }); // prettier-ignore
    t.strictSame(log.replayed().slice(-2), [[4, i], [5, i]], `${i} is found`); // prettier-ignore
  }
  t.notOk(log.area.read(0).equals(before));
  t.notOk(log.plan().homes.has(3), 'what was in place already is not replayed');
});

t.test('commit: a long log stays in its first blocks, a quarter of it at a time', async (t) => {
  const log = newLog(LONG_BLOCKS);
  const journal = log.open();
  await journal.start();
  const starts = [journal.superblock.start];
  // Three blocks each: 25 of them are a stretch of 75.
  for (let i = 0; i < 500; i++) {
    await journal.commit({ blocks: new Map([[3, filled(i % 256)]]), revoked: NONE });
    t.strictSame(log.replayed(), [[3, i % 256]], `${i} is found`);
    const { start } = journal.superblock;
    if (start !== starts.at(-1)) starts.push(start);
  }
  t.strictSame(starts.slice(0, 6), [1, 76, 2, 77, 3, 78], 'no log starts where one did');
  t.equal(new Set(starts).size, 20);
  t.ok(log.area.read(180).equals(Buffer.alloc(4096)), 'the rest is never touched');
});

t.test('commit: no old record is left where the log begins anew', async (t) => {
  const log = newLog(LONG_BLOCKS);
  const journal = log.open();
  await journal.start();
  const starts: number[] = [];
  watchStores(log, (offset, bytes, store) => {
    store();
    if (offset !== LOG_START * 4096 + JsbField.Sequence) return;
    const start = Buffer.from(bytes).readUInt32BE(4);
    starts.push(start);
    t.equal(log.area.read(start).readUInt32BE(0), 0, `at ${start}`);
  });
  // The second block of each is a record: there the log begins when it comes back.
  for (let i = 0; i < 60; i++) {
    await journal.commit({ blocks: new Map([[3, filled(i)]]), revoked: new Set([4]) });
  }
  t.strictSame(starts, [77, 2, 78]);
});

t.test(
  'commit: an old commit record of the same sequence is cleared before all else',
  async (t) => {
    const log = newLog();
    const transaction = { blocks: new Map([[3, filled(1)]]), revoked: NONE };
    const crashed = log.open(() => 7);
    await crashed.start();
    await crashed.commit(transaction);
    await log.open().empty();
    const journal = log.open(() => 7);
    await journal.start();
    const calls: string[] = [];
    const persist = log.range.persist.bind(log.range);
    log.range.persist = async (offset, length) => {
      calls.push(`persist ${offset / 4096 - LOG_START}`);
      await persist(offset, length);
    };
    watchStores(log, (offset, bytes, store) => {
      store();
      calls.push(`store ${bytes.length} at ${offset / 4096 - LOG_START}`);
    });
    await journal.commit(transaction);
    t.strictSame(calls.slice(0, 3), ['store 8 at 3', 'persist 3', 'store 4096 at 1']);
  },
);

t.test('commit: the log changes its superblock by one word, and the checksum stays', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  let before = log.area.read(0);
  const changed: number[][] = [];
  for (let i = 0; i < 60; i++) {
    await journal.commit({ blocks: new Map([[3, filled(i)]]), revoked: NONE });
    const after = log.area.read(0);
    const words = Array.from({ length: 512 }, (_, word) => word * 8).filter(
      (at) => !after.subarray(at, at + 8).equals(before.subarray(at, at + 8)),
    );
    if (words.length > 0) changed.push(words);
    before = after;
  }
  t.ok(changed.length >= 6, `${changed.length} times`);
  t.ok(changed.every((words) => words.join() === '24'), 'sequence and start'); // prettier-ignore
  t.doesNotThrow(() => log.open(), 'the checksum is right');
});

t.test('keep: what is kept out of its place is found however long ago it was', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  for (let i = 0; i < 60; i++) {
    if (i % 25 === 3) {
      const block = filled(100 + i);
      await journal.commit({ blocks: new Map([[9, block]]), revoked: NONE });
      journal.keep(9, block);
      block.fill(0);
    }
    await journal.commit({ blocks: new Map([[3, filled(i)]]), revoked: NONE });
    const kept = i < 3 ? undefined : 100 + i - ((i - 3) % 25);
    t.equal(new Map(log.replayed()).get(9), kept, `after ${i}`);
  }
  t.equal(journal.kept.get(9)?.[0], 153);
  t.throws(() => journal.keep(10, filled(1)), InvariantError, 'there is room for one');
});

for (const [where, blocks, commits] of [
  ['to its end', undefined, 8],
  ['back to its first blocks', LONG_BLOCKS, 48],
] as const) {
  t.test(`keep: wherever the power goes while the log moves ${where}, it is there`, async (t) => {
    for (let cut = 0; ; cut++) {
      const log = newLog(blocks);
      let left = Infinity;
      const journal = log.open();
      await journal.start();
      await journal.commit({ blocks: new Map([[9, filled(77)]]), revoked: NONE });
      journal.keep(9, filled(77));
      for (let i = 0; i < commits; i++) {
        await journal.commit({ blocks: new Map([[3, filled(i)]]), revoked: NONE });
      }
      const before = log.area.read(0);
      left = cut;
      watchStores(log, (_offset, _bytes, store) => {
        if (left-- > 0) store();
      });
      await journal.commit({ blocks: new Map([[3, filled(50)]]), revoked: NONE });
      t.equal(new Map(log.replayed()).get(9), 77, `after ${cut} stores`);
      if (left > 0) {
        t.notOk(log.area.read(0).equals(before), 'the log has moved');
        t.ok(cut > 10, `${cut} stores`);
        return;
      }
    }
  });
}

t.test('fits: what the whole log holds, with its records, and what is kept', async (t) => {
  const journal = newLog().open();
  t.ok(journal.fits(22, 0), '31 blocks less 7, descriptor and commit');
  t.notOk(journal.fits(23, 0));
  t.ok(journal.fits(21, 1));
  t.notOk(journal.fits(22, 1));
});

t.test('stop: leaves an empty log, durably, and takes no more', async (t) => {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  await journal.commit({ blocks: new Map([[3, filled(1)]]), revoked: NONE });
  await journal.stop();
  t.strictSame(log.replayed(), []);
  t.equal(log.open().superblock.start, 0);
  await t.rejects(journal.commit({ blocks: new Map(), revoked: NONE }), InvariantError);
});
