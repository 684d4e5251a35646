import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';

import { PAGE_SIZE } from '../../../src/lib/units.js';
import { requires } from '../../support/requires.js';
import { HandClock } from '../../unit/lease/set-up.js';
import { ask, isSettled, pattern, setUpExt4 } from './ext4-set-up.js';

const P = PAGE_SIZE;
const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const conflict = { name: 'DaxdError', code: 'recall-conflict' };

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
  leases.release(lease.id);
  t.match(await set.judge(), { status: 0 });
});

t.test('unlink of a leased file waits, and a cancelled one changes nothing', async (t) => {
  if (!requires(t, JUDGES)) return;
  const content = pattern(3 * P);
  const set = await setUpExt4(t, { file: content, other: content });
  const { fs, leases, layouts, waiters } = set;
  const inode = fs.lookup('file');
  const lease = await leases.acquire(ask({ offset: P }));
  const abort = new AbortController();
  const cancelled = fs.unlink('file', { signal: abort.signal });
  t.equal(await isSettled(cancelled), false);
  await t.rejects(leases.acquire(ask()), conflict);
  abort.abort();
  await t.rejects(cancelled, { name: 'DaxdError', code: 'cancelled' });
  t.equal(fs.lookup('file'), inode);
  t.strictSame([...layouts.pending], []);
  t.equal(waiters.size, 0);
  const second = await leases.acquire(ask());

  const removed = fs.unlink('file', { path: 'file' });
  await fs.unlink('other');
  leases.release(lease.id);
  t.equal(await isSettled(removed), false, 'the second lease is left');
  t.strictSame(leases.overlapping('pmem0p1', inode, 0, Infinity), [second.id]);
  leases.release(second.id);
  await removed;
  await t.rejects(leases.acquire(ask()), { name: 'DaxdError', code: 'ENOENT' });
  t.match(await set.judge(), { status: 0 });
});

t.test('a stopped holder that lapsed is waited for, a killed one no longer', async (t) => {
  if (!requires(t, JUDGES)) return;
  const clock = new HandClock();
  const set = await setUpExt4(t, { file: pattern(P) }, clock);
  const { fs, leases } = set;
  const child = spawn('sleep', ['100']);
  t.teardown(() => child.kill('SIGKILL'));
  const pid = child.pid ?? 0;
  const line = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const pidStart = Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[22 - 3]);
  const other = ask({ pid, pidStart: pidStart + 1 });
  await t.rejects(leases.acquire(other), { name: 'DaxdError', code: 'ESRCH' });
  const lease = await leases.acquire(ask({ pid, pidStart, ttlMs: 1000 }));
  child.kill('SIGSTOP');
  const removed = fs.unlink('file');
  clock.advance(60_000);
  t.equal(lease.state, 'suspect');
  t.equal(await isSettled(removed), false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  clock.advance(1000);
  await removed;
  t.equal(lease.state, 'released');
  t.match(await set.judge(), { status: 0 });
});
