import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import t from 'tap';

import { bdevDaxSupported } from '../../../src/dax/bdev-dax-supported.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { unpackKernelNamespace } from '../../support/fixture.js';
import { requires } from '../../support/requires.js';
import { setUpProbe } from '../../unit/nvdimm/probe-set-up.js';

const run = promisify(execFile);

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

t.test('ndPmemProbe: a namespace that a kernel made attaches as the kernel has it', async (t) => {
  const path = join(t.testdir(), 'image');
  await unpackKernelNamespace(path);
  const before = await sha256(path);
  const backing = await openBacking(path, { log: silentLogger });
  const { probe, memremap, log } = setUpProbe(backing);
  const pmem = await probe();
  t.match(pmem.namespace, {
    mode: 'fsdax',
    map: 'dev',
    uuid: '2500be98-0529-4248-a91d-331db61bd1d3',
    dataOffset: 6291456,
    npfns: 64000,
    align: 2 * MIB,
    infoBlockVersion: '1.4',
  });
  t.equal(pmem.disk.sizeBytes, 262144000);
  t.match(pmem.disk.partitions, [
    { name: 'pmem0p1', number: 1, label: 'data', sizeBytes: 64 * MIB },
    { name: 'pmem0p2', number: 2, label: 'scratch' },
  ]);
  t.strictSame(log.warnings(), []);

  const [first, second] = pmem.disk.partitions.map(({ startBytes, sizeBytes }) =>
    bdevDaxSupported({
      startBytes,
      sizeBytes,
      daxDevice: pmem.daxDevice,
      memremap,
      blockSize: 4096,
    }),
  );
  t.match(first, { supported: true });
  t.match(second, { supported: false, errno: 'EINVAL' }, 'for its size, as in the kernel');
  await pmem.detach();
  t.equal(await sha256(path), before, 'not a byte was changed');
});

t.test('scanPartitions: finds what sgdisk finds on the same disk', async (t) => {
  if (!requires(t, { commands: ['sgdisk'] })) return;
  const dir = t.testdir();
  const path = join(dir, 'image');
  await unpackKernelNamespace(path);
  const pmem = await setUpProbe(await openBacking(path, { log: silentLogger })).probe();
  const { dataOffset, sizeBytes } = pmem.disk;

  const diskPath = join(dir, 'disk');
  await copyFile(path, diskPath);
  const [source, target] = [await open(path, 'r'), await open(diskPath, 'r+')];
  const piece = Buffer.alloc(MIB);
  // Only the ends matter to sgdisk: the tables.
  for (const at of [0, sizeBytes - MIB]) {
    await source.read(piece, 0, MIB, dataOffset + at);
    await target.write(piece, 0, MIB, at);
  }
  await source.close();
  await target.close();
  await truncate(diskPath, sizeBytes);

  const { stdout } = await run('sgdisk', ['-p', diskPath]);
  const rows = [...stdout.matchAll(/^\s+(\d+)\s+(\d+)\s+(\d+)\s.*\s(\S+)$/gm)].map(
    ([, number, first, last, label]) => [Number(number), Number(first), Number(last), label],
  );
  t.strictSame(
    pmem.disk.partitions.map((p) => [
      p.number,
      p.startBytes / 512,
      (p.startBytes + p.sizeBytes) / 512 - 1,
      p.label,
    ]),
    rows,
  );
  for (const { number, uuid, type } of pmem.disk.partitions) {
    const info = await run('sgdisk', ['-i', `${number}`, diskPath]);
    t.match(info.stdout.toLowerCase(), `unique guid: ${uuid}`);
    t.match(info.stdout.toLowerCase(), `guid code: ${type}`);
  }
  await pmem.detach();
});

t.test('ndPmemProbe: a truncated image is refused and left as it is', async (t) => {
  const path = join(t.testdir(), 'image');
  for (const sizeBytes of [4 * MIB, 6 * MIB, 6 * MIB + 4096, 255 * MIB]) {
    await unpackKernelNamespace(path);
    await truncate(path, sizeBytes);
    const before = await sha256(path);
    const { probe } = setUpProbe(await openBacking(path, { log: silentLogger }));
    await t.rejects(probe(), { code: 'EOPNOTSUPP', message: /truncated/ }, `${sizeBytes} bytes`);
    t.equal(await sha256(path), before);
  }
});
