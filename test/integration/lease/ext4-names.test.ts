import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';

import { PAGE_SIZE } from '../../../src/lib/units.js';
import { requires } from '../../support/requires.js';
import { HandClock } from '../../unit/lease/set-up.js';
import { until } from '../fs/ext4/orphan-set-up.js';
import { ask, pattern, setUpExt4 } from './ext4-set-up.js';

const P = PAGE_SIZE;
const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };

t.test('a read lease lends the very bytes of the file', async (t) => {
  if (!requires(t, JUDGES)) return;
  const content = pattern(5 * P + 77);
  const set = await setUpExt4(t, { file: content });
  const { leases, backing } = set;
  const lease = await leases.acquire(ask({ offset: 100, length: 5 * P - 23 }));
  let seen = 0;
  for (const { file_offset, device_offset, length } of lease.view().extents) {
    const bytes = Buffer.alloc(length);
    backing.mapping.read(device_offset, bytes);
    t.ok(bytes.equals(content.subarray(file_offset, file_offset + length)));
    seen += length;
  }
  t.equal(seen, 5 * P - 23);
  t.equal(lease.view().backing_path, backing.path);
  await t.rejects(leases.acquire(ask({ path: '' })), { name: 'DaxdError', code: 'EISDIR' });
  await leases.release(lease.id);
  t.match(await set.judge(), { status: 0 });
});

t.test('unlink of a leased file: the name goes, the lease stays valid', async (t) => {
  if (!requires(t, JUDGES)) return;
  const content = pattern(3 * P);
  const set = await setUpExt4(t, { file: content, other: content });
  const { fs, leases, layouts, waiters, backing } = set;
  const inode = fs.lookup('file');
  const free = fs.statfs().freeBytes;
  const lease = await leases.acquire(ask({ offset: P, access: 'write' }));
  const second = await leases.acquire(ask({ length: 2 * P }));
  const [extent] = lease.view().extents;

  await fs.unlink('file');
  await fs.unlink('other');
  t.equal(fs.statfs().freeBytes, free + 3 * P, 'the other one is free');
  await t.rejects(leases.acquire(ask()), { name: 'DaxdError', code: 'ENOENT' });
  t.equal(leases.get(lease.id).state, 'active');
  t.equal(leases.renew(lease.id).view().path, 'file');
  t.strictSame(
    leases.list({ path: 'file', partition: 'pmem0p1' }).leases.map(({ id }) => id),
    [lease.id, second.id],
  );
  t.match([...layouts.pending], [{ op: 'unlink', inode, path: 'file' }]);
  t.strictSame(leases.overlapping('pmem0p1', inode, 0, Infinity).toSorted(), [lease.id, second.id]);

  const made = await fs.create('file');
  await fs.write(made, 0, Buffer.alloc(8 * P, 0x77));
  const bytes = Buffer.alloc(P);
  backing.mapping.read(extent?.device_offset ?? 0, bytes);
  t.ok(bytes.equals(content.subarray(P, 2 * P)), 'nobody else has the blocks');

  await leases.release(lease.id);
  t.equal(layouts.size, 1, 'the second lease is left');
  await leases.release(second.id, [{ offset: 0, length: P }]);
  t.equal(layouts.size, 1, 'a page of it is left');
  await leases.release(second.id);
  t.ok(await until(() => layouts.size === 0));
  t.equal(fs.statfs().freeBytes, free + 3 * P - 8 * P + 3 * P);
  t.equal(waiters.size, 0);
  t.match(await set.judge(), { status: 0 });
});

t.test('a stopped holder that lapsed is waited for, a killed one no longer', async (t) => {
  if (!requires(t, JUDGES)) return;
  const clock = new HandClock();
  const set = await setUpExt4(t, { file: pattern(P) }, clock);
  const { fs, leases, layouts } = set;
  const child = spawn('sleep', ['100']);
  t.teardown(() => child.kill('SIGKILL'));
  const pid = child.pid ?? 0;
  const line = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const pidStart = Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[22 - 3]);
  const other = ask({ pid, pidStart: pidStart + 1 });
  await t.rejects(leases.acquire(other), { name: 'DaxdError', code: 'ESRCH' });
  const lease = await leases.acquire(ask({ pid, pidStart, ttlMs: 1000 }));
  child.kill('SIGSTOP');
  await fs.unlink('file');
  clock.advance(60_000);
  t.equal(lease.state, 'suspect');
  t.equal(layouts.size, 1);
  child.kill('SIGKILL');
  await once(child, 'exit');
  clock.advance(1000);
  t.ok(await until(() => lease.state === 'released'));
  t.ok(await until(() => layouts.size === 0));
  t.match(await set.judge(), { status: 0 });
});
