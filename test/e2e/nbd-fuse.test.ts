/**
 * A GPT by sgdisk and an ext4 by mke2fs, both made through qemu's view of an NBD client, which
 * its storage daemon shows as a file by FUSE; daxd then finds the partitions and mounts the ext4.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { fsck, runJudge } from '../support/ext4-image.js';
import { overlapEntries } from '../support/overlapping-entries.js';
import { requires } from '../support/requires.js';
import { curl, post } from './daxd.js';
import { mustRun } from './must-run.js';
import { eventually, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const SIZE_BYTES = 64 * MIB;

interface FuseFile {
  readonly path: string;
  close(): Promise<void>;
}

/** Shows an export as a file. */
async function fuseFile(t: Test, daxd: NbdDaxd, name: string, size: number): Promise<FuseFile> {
  const path = join(daxd.directory, `fuse-${name}`);
  writeFileSync(path, '');
  const server = `server.type=unix,server.path=${daxd.socket}`;
  const child = spawn(
    'qemu-storage-daemon',
    [
      '--blockdev',
      `driver=nbd,node-name=nbd,${server},export=${name},discard=unmap`,
      '--export',
      `type=fuse,id=fuse,node-name=nbd,mountpoint=${path},writable=on`,
    ],
    { stdio: 'inherit' },
  );
  const exited = once(child, 'exit');
  const close = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exited;
  };
  t.teardown(async () => {
    await close();
    runJudge('umount', ['-l', path]);
  });
  const shown = await eventually(
    () => statSync(path).size,
    (now) => now === size || child.exitCode !== null,
  );
  t.equal(shown, size, `${name} is shown`);
  return { path, close };
}

async function partitionList({ url }: NbdDaxd): Promise<{ name: string; label: string }[]> {
  return (await curl(`${url}/v1/partitions`)).json;
}

for (const args of [[], ['--sparse']]) {
  t.test(`a disk made over NBD is attached and mounted ${args.join('')}`, async (t) => {
    const commands = ['qemu-storage-daemon', 'sgdisk', 'mke2fs', 'e2fsck', 'curl'];
    if (!requires(t, { commands, root: true })) return;
    const daxd = await startNbd(t, { args: ['--size', '64M', ...args] });
    const disk = await fuseFile(t, daxd, 'pmem0', SIZE_BYTES);
    mustRun(t, 'sgdisk', '-n', '1:0:+40M', '-c', '1:made', '-n', '2:0:0', disk.path);
    await disk.close();
    const found = await eventually(
      () => partitionList(daxd),
      (list) => list.length === 2,
    );
    t.match(found, [{ name: 'pmem0p1', label: 'made', size: 40 * MIB }, { name: 'pmem0p2' }]);

    const partition = await fuseFile(t, daxd, 'pmem0p1', 40 * MIB);
    mustRun(t, 'mke2fs', '-q', '-F', '-t', 'ext4', '-b', '4096', partition.path);
    t.match(fsck(partition.path), { status: 0 }, 'e2fsck over NBD');
    await partition.close();
    const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
    const mount = await eventually(
      () => curl(...post(`${p1}/mount`)),
      ({ status }) => status !== 409,
    );
    t.equal(mount.status, 200, mount.body);
    t.match((await partitionList(daxd))[0], { filesystem: { type: 'ext4', mounted: true } });
    t.equal((await curl('-X', 'PUT', '-d', 'over HTTP', `${p1}/files/new`)).status, 201);
    t.equal((await curl(...post(`${p1}/unmount`))).status, 200);

    const again = await fuseFile(t, daxd, 'pmem0p1', 40 * MIB);
    t.match(fsck(again.path), { status: 0 }, 'what daxd wrote is clean over NBD');
    t.match(runJudge('debugfs', ['-R', 'cat new', again.path]).output, /over HTTP/);
    await again.close();
    t.equal(await daxd.stop(), 0);
    const next = await startNbd(t, { directory: daxd.directory });
    t.match(await partitionList(next), [
      { name: 'pmem0p1', filesystem: { mounted: true } },
      { name: 'pmem0p2' },
    ]);
    t.equal(await next.stop(), 0);
  });
}

t.test('a table with partitions over each other is mended over NBD', async (t) => {
  if (!requires(t, { commands: ['qemu-storage-daemon', 'sgdisk', 'curl'], root: true })) return;
  const daxd = await startNbd(t, { args: ['--size', '64M'] });
  const disk = await fuseFile(t, daxd, 'pmem0', SIZE_BYTES);
  mustRun(t, 'sgdisk', '-n', '1:0:+16M', '-n', '2:0:+16M', disk.path);
  await disk.close();
  await eventually(
    () => partitionList(daxd),
    (list) => list.length === 2,
  );
  t.equal(await daxd.stop(), 0);
  await overlapEntries(daxd.image, 0, SIZE_BYTES);

  const next = await startNbd(t, { directory: daxd.directory });
  t.match(await partitionList(next), { length: 0 });
  t.ok(next.stderr.some((line) => line.includes('GPT entries 1 and 2 overlap')));
  const again = await fuseFile(t, next, 'pmem0', SIZE_BYTES);
  mustRun(t, 'sgdisk', '-d', '2', again.path);
  await again.close();
  const mended = await eventually(
    () => partitionList(next),
    (list) => list.length === 1,
  );
  t.match(mended, [{ name: 'pmem0p1' }]);
  t.equal(await next.stop(), 0);
});
