import t from 'tap';

import { JOURNAL_INCOMPAT, JSB_BYTES, JsbField } from '../../../../src/fs/jbd2/layout.js';
import { CRC_INIT, crc32c } from '../../../../src/lib/crc32c.js';
import { LOG_START, newLog, watchStores } from './set-up.js';

t.test('JournalSuperblock: whole after each store, from its first features on', async (t) => {
  const log = newLog();
  let stores = 0;
  watchStores(log, (offset, bytes, store) => {
    store();
    if (Math.floor(offset / 4096) !== LOG_START) return;
    stores++;
    t.equal(bytes.length, 8, 'one word');
    t.equal(offset % 8, 0);
    t.doesNotThrow(() => log.open());
    t.strictSame(log.replayed(), []);
  });
  for (let mounts = 0; mounts < 3; mounts++) {
    const journal = log.open();
    await journal.start();
    await journal.stop();
  }
  t.equal(stores, 6 + 2 * 7, 'with features there is one more to begin with');
});

t.test('JournalSuperblock: one with a wrong checksum is refused', async (t) => {
  const log = newLog();
  await log.open().start();
  const torn = log.area.read(0);
  torn.writeUInt32BE(77, 0x18);
  log.area.write(0, torn);
  t.throws(() => log.open(), { code: 'EBADMSG', message: /journal superblock/ });
});

t.test('JournalSuperblock: what is not to be believed is refused', async (t) => {
  const cases: readonly (readonly [string, number, number, string])[] = [
    ['no magic', 0x00, 5, 'EUCLEAN'],
    ['version 1', 0x04, 3, 'EUCLEAN'],
    ['block size', 0x0c, 1024, 'EUCLEAN'],
    ['longer than its file', 0x10, 33, 'EUCLEAN'],
    ['first block 0', 0x14, 0, 'EUCLEAN'],
    ['starts past its end', 0x1c, 32, 'EUCLEAN'],
    ['unknown features', 0x28, 0x40, 'EOPNOTSUPP'],
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

t.test('start: features that daxd does not write go from an empty log, by one word', async (t) => {
  for (const features of [0x27, 0x2f, 0x37]) {
    const log = newLog();
    const jsb = log.area.read(0);
    jsb.writeUInt32BE(features, JsbField.FeatureIncompat);
    if ((features & 0x18) !== 0) seal(jsb);
    log.area.write(0, jsb);
    const stores: number[] = [];
    watchStores(log, (offset, bytes, store) => {
      store();
      stores.push(offset - LOG_START * 4096);
      t.equal(bytes.length, 8, 'one word');
      t.strictSame(log.replayed(), [], 'whole, and empty, after each store');
    });
    const journal = log.open();
    await journal.start();
    t.equal(stores[0], JsbField.FeatureIncompat);
    t.equal(log.area.read(0).readUInt32BE(JsbField.FeatureIncompat), JOURNAL_INCOMPAT);
    await journal.stop();
    t.equal(log.open().superblock.start, 0);
  }
});

t.test('load: a log that is not empty is refused by what cannot be replayed', async (t) => {
  for (const [feature, name] of [
    [0x4, 'journal_async_commit'],
    [0x20, 'fast_commit'],
  ] as const) {
    const log = newLog();
    await log.open().start();
    const jsb = log.area.read(0);
    jsb.writeUInt32BE(JOURNAL_INCOMPAT | feature, JsbField.FeatureIncompat);
    seal(jsb);
    log.area.write(0, jsb);
    const message = new RegExp(`not empty.* with ${name}; mount and unmount it.*e2fsck -fy`);
    t.throws(() => log.open(), { name: 'DaxdError', code: 'EOPNOTSUPP', message });
  }
});

t.test('start: checksums v1 go while there are no others, by one word', async (t) => {
  const log = newLog();
  log.area.write(0, Buffer.from([0, 0, 0, 1]), JsbField.FeatureCompat);
  const stores: number[] = [];
  watchStores(log, (offset, bytes, store) => {
    store();
    stores.push(offset - LOG_START * 4096);
    t.equal(bytes.length, 8, 'one word');
    t.doesNotThrow(() => log.open(), 'whole after each store');
  });
  await log.open().start();
  t.equal(stores[0], JsbField.Errno);
  t.equal(log.area.read(0).readUInt32BE(JsbField.FeatureCompat), 0);
});

t.test('load: checksums v1 and v3 at once are EUCLEAN', async (t) => {
  const log = newLog();
  await log.open().start();
  const jsb = log.area.read(0);
  jsb.writeUInt32BE(1, JsbField.FeatureCompat);
  seal(jsb);
  log.area.write(0, jsb);
  t.throws(() => log.open(), { name: 'DaxdError', code: 'EUCLEAN', message: /v1 and later/ });
  jsb.writeUInt32BE(0, JsbField.FeatureCompat);
  jsb.writeUInt32BE(0x18, JsbField.FeatureIncompat);
  seal(jsb);
  log.area.write(0, jsb);
  t.throws(() => log.open(), { name: 'DaxdError', code: 'EUCLEAN', message: /v2 and later/ });
});

/** Gives a superblock that was changed the checksum of what it says now. */
function seal(jsb: Buffer): void {
  jsb.writeUInt32BE(0, JsbField.Checksum);
  jsb.writeUInt32BE(crc32c(CRC_INIT, jsb.subarray(0, JSB_BYTES)), JsbField.Checksum);
}
