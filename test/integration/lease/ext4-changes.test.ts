import { setImmediate } from 'node:timers/promises';
import t from 'tap';

import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { requires } from '../../support/requires.js';
import { releaseAll } from '../../unit/lease/set-up.js';
import { ask, isSettled, pattern, setUpExt4 } from './ext4-set-up.js';
import type { Ext4SetUp } from './ext4-set-up.js';

const P = PAGE_SIZE;
const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };

function readAll({ fs }: Ext4SetUp, inode: number): Buffer {
  const content = Buffer.alloc(fs.stat(inode).size);
  fs.read(inode, 0, content);
  return content;
}

const conflict = { name: 'DaxdError', code: 'recall-conflict' };

t.test('lease page 0, truncate waits, release, truncate goes on', async (t) => {
  if (!requires(t, JUDGES)) return;
  const content = pattern(3 * P + 5);
  const set = await setUpExt4(t, { file: content });
  const { fs, leases, pinnedPages } = set;
  const inode = fs.lookup('file');
  const lease = await leases.acquire(ask());
  t.equal(
    lease.view().extents[0]?.device_offset,
    4 * MIB + (fs.extents(inode)[0]?.mediaOffset ?? 0),
  );
  const freeBefore = fs.statfs().freeBytes;

  const truncated = fs.truncate(inode, 0, { path: 'file' });
  t.equal(await isSettled(truncated), false);
  t.strictSame(readAll(set, inode), content, 'nothing has changed');
  await t.rejects(leases.acquire(ask({ offset: 100, length: 1 })), conflict);
  await t.rejects(leases.acquire(ask({ access: 'write' })), conflict);
  t.strictSame(leases.overlapping('pmem0p1', inode, 0, Infinity), [lease.id]);
  await leases.release(lease.id);
  const result = await truncated;
  t.ok(result.waitedMs >= 15, `waited ${result.waitedMs} ms`);
  t.equal(result.freedBytes, 4 * P);
  t.equal(fs.statfs().freeBytes, freeBefore + 4 * P);
  t.equal(pinnedPages(), 0);
  await t.rejects(leases.acquire(ask()), { name: 'DaxdError', code: 'EINVAL' }, 'it is empty');
  t.match(await set.judge(), { status: 0 });
});

t.test('a truncate that is cancelled leaves the file and the lease as they were', async (t) => {
  if (!requires(t, JUDGES)) return;
  const content = pattern(3 * P + 5);
  const set = await setUpExt4(t, { file: content });
  const { fs, leases, layouts, waiters } = set;
  const inode = fs.lookup('file');
  const before = fs.extents(inode);
  const lease = await leases.acquire(ask({ offset: 2 * P }));
  const abort = new AbortController();
  const truncated = fs.truncate(inode, 10, { signal: abort.signal });
  t.equal(await isSettled(truncated), false);
  abort.abort();
  await t.rejects(truncated, { name: 'DaxdError', code: 'cancelled' });
  t.strictSame(readAll(set, inode), content);
  t.strictSame(fs.extents(inode), before);
  t.strictSame([...layouts.pending], []);
  t.equal(waiters.size, 0);
  t.equal(lease.state, 'active');
  await leases.release((await leases.acquire(ask({ length: 3 * P, access: 'write' }))).id);
  await leases.release(lease.id);
  t.match(await set.judge(), { status: 0 });
  t.strictSame(set.dump('file'), content);
});

t.test('disjoint changes pass: punch and write beside the leased page', async (t) => {
  if (!requires(t, JUDGES)) return;
  const set = await setUpExt4(t, { file: pattern(8 * P) });
  const { fs, leases } = set;
  const inode = fs.lookup('file');
  const lease = await leases.acquire(ask({ offset: 3 * P, length: P }));
  await fs.punchHole(inode, 5 * P, 2 * P, {});
  await fs.write(inode, 3 * P, Buffer.from('in place'));
  await fs.truncate(inode, 4 * P, {});
  const punched = fs.punchHole(inode, 3 * P + 8, 1, {});
  t.equal(await isSettled(punched), false, 'one byte of the page');
  t.equal((await leases.acquire(ask({ length: 3 * P }))).pages, 3, 'the pages before it');
  await t.rejects(leases.acquire(ask({ offset: 3 * P })), conflict);
  await leases.release(lease.id);
  await punched;
  await releaseAll(leases);
  t.match(await set.judge(), { status: 0 });
});

t.test('a write lease and a truncate at once: one is first, and neither loses', async (t) => {
  if (!requires(t, JUDGES)) return;
  const set = await setUpExt4(t);
  const { fs, leases, pinnedPages } = set;
  const inode = await fs.create('file');
  const outcomes = { granted: 0, refused: 0 };
  for (let round = 0; round < 20; round++) {
    await fs.truncate(inode, 0, {});
    await fs.truncate(inode, 4 * P, {});
    const asked = leases.acquire(ask({ length: 4 * P, access: 'write' }));
    // At first the truncate starts with the preparation, later in the midst of it, last after it.
    for (let turn = 0; turn < round; turn++) await setImmediate();
    if (round === 19) await asked;
    const truncated = fs.truncate(inode, P, {});
    const [lease] = await Promise.allSettled([asked]);
    if (lease.status === 'fulfilled') {
      outcomes.granted++;
      t.equal(fs.stat(inode).size, 4 * P, 'the truncate waits');
      t.equal(lease.value.pages, 4);
      await leases.release(lease.value.id);
    } else {
      outcomes.refused++;
      t.match(lease.reason, { name: 'DaxdError', code: /^(recall-conflict|EINVAL)$/ });
    }
    await truncated;
    t.equal(pinnedPages(), 0);
  }
  t.ok(outcomes.granted > 0 && outcomes.refused > 0, JSON.stringify(outcomes));
  t.match(await set.judge(), { status: 0 });
});
