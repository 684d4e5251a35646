import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { allocateFile } from '../../../src/media/fallocate.js';
import { msyncView } from '../../../src/media/mman.js';
import { requires } from '../../support/requires.js';
import { outcome, spawnScript } from './children.js';
import { mountSmallExt4, mountSmallTmpfs } from './mounts.js';

t.test('persist: msync with MS_SYNC of the pages, on another thread', async (t) => {
  if (!requires(t, { commands: ['strace'] })) return;
  const directory = t.testdir({});
  const trace = join(directory, 'trace');
  const image = join(directory, 'pmem0.img');
  const strace = ['strace', '-f', '-e', 'trace=msync', '-o', trace];
  const { output, end } = await outcome(spawnScript('persist-child.ts', { under: strace }, image));
  t.equal(end, 0);

  const { pid, address } = JSON.parse(output) as { pid: number; address: string };
  const calls = readFileSync(trace, 'utf8')
    .split('\n')
    .map((line) => /^(\d+) +msync\((0x[0-9a-f]+), (\d+), (\w+)/.exec(line)?.slice(1))
    .filter((call) => call !== undefined);
  const page = (number: number): string =>
    `0x${(BigInt(address) + BigInt(number * 4096)).toString(16)}`;
  t.strictSame(
    calls.map(([, ...call]) => call),
    [[page(1), '8192', 'MS_SYNC']],
    'the byte at 8191 and the one behind it lie on pages 1 and 2',
  );
  t.notSame(calls[0]?.[0], String(pid), 'not the main thread');
});

t.test('msyncView: fails with the errno of the pool thread', async (t) => {
  await t.rejects(msyncView(Buffer.alloc(8192).subarray(1, 2)), {
    name: 'DaxdError',
    code: 'EINVAL',
    message: /msync of 1 bytes failed with EINVAL/,
  });
});

t.test('allocateFile: fails with the errno that the call returned', async (t) => {
  await t.rejects(allocateFile({ path: 'nothing', fd: 1 << 20 }, 4096), {
    name: 'DaxdError',
    code: 'EIO',
    message: /fallocate of nothing, 4096 bytes failed with EBADF/,
  });
});

t.test(
  'persist: a disk that fails below is EIO, and every later persist still tries',
  async (t) => {
    if (!requires(t, { commands: ['mkfs.ext4', 'mount'], root: true })) return;
    // A disk of 16 MiB with room for 2: what ext4 allocates, it then cannot write.
    const mountpoint = mountSmallExt4(t, mountSmallTmpfs(t));

    const path = join(mountpoint, 'pmem0.img');
    const sizeBytes = 8 * 2 ** 20;
    const backing = await openBacking(path, { sizeBytes, log: silentLogger });
    backing.mapping.fill(0, sizeBytes, 0xa5);
    await t.rejects(backing.persist(0, sizeBytes), {
      name: 'DaxdError',
      code: 'EIO',
      message:
        /pmem0\.img: bytes \[0, 8388608\) may not be durable, msync .* failed with E(IO|NOSPC)/,
    });
    t.equal(backing.persistLatency.count, 0);
    backing.mapping.fill(0, sizeBytes, 0x5a);
    await t.rejects(backing.persist(0, sizeBytes), { name: 'DaxdError', code: 'EIO' });
    await backing.close();
    t.equal(backing.mapping.view(0, 1)[0], 0x5a, 'the map is still there');
  },
);

t.test('close: waits for the persists under way', async (t) => {
  const path = join(t.testdir({}), 'pmem0.img');
  const backing = await openBacking(path, { sizeBytes: 2 ** 20, log: silentLogger });
  backing.mapping.fill(0, 2 ** 20, 7);
  const order: string[] = [];
  const persisted = backing.persist(0, 2 ** 20).then(() => order.push('persisted'));
  const closed = backing.close().then(() => order.push('closed'));
  await Promise.all([persisted, closed]);
  t.strictSame(order, ['persisted', 'closed']);
});
