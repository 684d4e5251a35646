/** A daemon that goes on in another container: it has a /proc of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, post, startDaxd, until } from './daxd.js';
import type { Daxd } from './daxd.js';

/** Longer than from one look for holders to the next; none of those that a test starts is in there. */
const LOOKED_MS = 2_500;
const PROGRAM = [process.execPath, resolve('bin/daxd.js')] as const;
/** Kills what runs in it when it is killed itself. */
const CONTAINER = ['unshare', '--fork', '--kill-child'] as const;

function startTicks(pid: number): number {
  const line = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[22 - 3]);
}

async function startHolder(t: Test) {
  const child = spawn('sleep', ['600']);
  t.teardown(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  const pid = child.pid ?? 0;
  return { child, pid, pid_start: startTicks(pid) };
}

async function viewOf({ url }: Daxd, id: string) {
  return (await curl(`${url}/v1/leases/${id}`)).json;
}

for (const [what, options] of [
  ['pids', ['--pid', '--mount-proc']],
  ['start times', ['--time', '--boottime', '1000000']],
] as const) {
  t.test(`a holder is not taken for gone where daxd sees other ${what}`, async (t) => {
    if (!requires(t, { commands: ['curl', 'unshare'], root: true })) return;
    const args = ['--backing', join(temporaryDirectory(t), 'pmem0.img')];
    const first = await startDaxd(t, [...args, '--size', '64M', '--init']);
    await curl('-X', 'PUT', '--data-binary', 'hello', `${first.url}/v1/partitions/pmem0p1/files/a`);
    const { child, pid, pid_start } = await startHolder(t);
    const lease = { partition: 'pmem0p1', path: 'a', offset: 0, length: 1, access: 'write' };
    const asked = { ...lease, pid, pid_start, ttl_ms: 600_000 };
    const { id } = (await curl(...post(`${first.url}/v1/leases`, asked))).json;
    await first.stop('SIGKILL');

    const inside = await startDaxd(t, args, undefined, [...CONTAINER, ...options, ...PROGRAM]);
    await sleep(LOOKED_MS);
    t.match(await viewOf(inside, id), { state: 'reclaimable', pages: 1 });
    const refused = await curl(...post(`${inside.url}/v1/leases`, { ...asked, pid_start: 1 }));
    t.match(refused.json, { code: 'ESRCH' }, 'asked anew, nobody is seen by these numbers');
    await inside.stop('SIGKILL');

    const last = await startDaxd(t, args);
    const other = await startHolder(t);
    const witness = { ...lease, pid: other.pid, pid_start: other.pid_start, ttl_ms: 600_000 };
    const { json: gone } = await curl(...post(`${last.url}/v1/leases`, witness));
    other.child.kill('SIGKILL');
    await until(
      () => viewOf(last, gone.id),
      ({ state }) => state === 'released',
    );
    t.match(await viewOf(last, id), { state: 'reclaimable', pages: 1 }, 'where it was: alive');
    child.kill('SIGKILL');
    const ended = await until(
      () => viewOf(last, id),
      ({ state }) => state === 'released',
    );
    t.equal(ended.ended, 'process gone');
    t.equal(await last.stop(), 0);
  });
}
