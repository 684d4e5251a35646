/** Backings that fail under a client: daxd answers an error and lives. */
import { once } from 'node:events';
import { readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { mountSmallExt4, mountSmallTmpfs } from '../integration/media/mounts.js';
import { runJudge } from '../support/ext4-image.js';
import { Command, CommandFlag, NbdErrno } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { curl } from './daxd.js';
import { addPartition, eventually, isRunning, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const SIZES = [1, 512, 4096, 65_536, 300_000];

async function serves(t: Test, daxd: NbdDaxd): Promise<void> {
  t.ok(isRunning(daxd));
  t.equal((await curl(`${daxd.url}/livez`)).status, 200, 'and HTTP goes on');
}

t.test('a backing that someone shrinks is EIO beyond its new end, and only there', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '32M', '--sparse'] });
  const half = 16 * MIB;
  const clients = await Promise.all(
    (['simple', 'structured', 'extended'] as const).map((style) =>
      Transmission.start(t, daxd.address, '', { style }),
    ),
  );
  for (const client of clients) await client.write(half + MIB, Buffer.alloc(MIB, 1));
  truncateSync(daxd.image, half);
  for (const client of clients) {
    const flags = client.style === 'extended' ? CommandFlag.PayloadLen : 0;
    for (const length of SIZES) {
      const offset = half + MIB;
      const read = { command: Command.Read, offset, length };
      t.equal(await client.errorOf(read), NbdErrno.EIO, `${client.style} read of ${length}`);
      const write = { command: Command.Write, offset, payload: Buffer.alloc(length, 2), flags };
      t.equal(await client.errorOf(write), NbdErrno.EIO, `${client.style} write of ${length}`);
    }
    const across = { command: Command.Read, offset: half - 4096, length: 65_536 };
    t.equal(await client.errorOf(across), NbdErrno.EIO, 'a read across the end');
    await client.write(half - 3, Buffer.from('end'));
    t.equal((await client.read(half - 3, 3)).toString(), 'end', 'what is left works');
  }
  for (const client of clients) {
    for (const command of [Command.Trim, Command.WriteZeroes, Command.Cache]) {
      const error = await client.errorOf({ command, offset: half + MIB, length: 8192 });
      const allowed: number[] =
        command === Command.WriteZeroes ? [NbdErrno.EIO] : [0, NbdErrno.EIO];
      t.ok(allowed.includes(error), `command ${command}: ${error}`);
    }
  }
  t.equal(statSync(daxd.image).size, half, 'nothing made it longer again');
  await serves(t, daxd);
  truncateSync(daxd.image, 32 * MIB);
  for (const client of clients) {
    await client.write(half + MIB, Buffer.from('back'));
    t.equal((await client.read(half + MIB, 4)).toString(), 'back');
  }
});

/** Fills what the filesystem below has left, behind holes of the export. */
async function fillsUp(t: Test, mountpoint: string, inMemory: boolean): Promise<void> {
  const image = join(mountpoint, 'pmem0.img');
  const daxd = await startNbd(t, { image, args: ['--size', '64M', '--sparse'] });
  const { address } = daxd;
  const client = await Transmission.start(t, address, '');
  const other = await Transmission.start(t, address, '');
  const payload = Buffer.alloc(MIB, 0x66);
  let written = 0;
  for (; written < 64; written++) {
    const error = await client.errorOf({ command: Command.Write, offset: written * MIB, payload });
    if (error === 0) continue;
    t.equal(error, NbdErrno.ENOSPC);
    break;
  }
  t.ok(written < 64, `${written} MiB went in`);
  for (const length of SIZES) {
    const small = {
      command: Command.Write,
      offset: 40 * MIB,
      payload: payload.subarray(0, length),
    };
    // A smaller one may find the last free blocks.
    const error = await other.errorOf(small);
    t.ok(error === NbdErrno.ENOSPC || error === 0, `a write of ${length}: ${error}`);
  }
  const zeroes = { command: Command.WriteZeroes, offset: 48 * MIB, length: 8 * MIB };
  t.equal(await other.errorOf({ ...zeroes, flags: CommandFlag.NoHole }), NbdErrno.ENOSPC);
  t.equal(await other.errorOf(zeroes), 0, 'holes need no room');
  const reading = { command: Command.Read, offset: 40 * MIB, length: MIB };
  const error = await other.errorOf(reading);
  // A filesystem in memory fills a hole that is read through a map.
  t.ok(error === 0 || (inMemory && error === NbdErrno.EIO), `a hole is read: ${error}`);
  await serves(t, daxd);

  t.equal(await client.errorOf({ command: Command.Trim, offset: 0, length: 64 * MIB }), 0);
  await client.flush();
  await client.write(20 * MIB, payload.subarray(0, 65_536));
  t.equal((await other.read(20 * MIB, 1))[0], 0x66, 'with room again, writes go on');
  for (const one of [client, other]) await one.disconnect();
  t.equal(await daxd.stop(), 0);
}

t.test(
  'a backing that shrank under the last client of the disk: its table is not taken',
  async (t) => {
    const daxd = await startNbd(t, { args: ['--size', '32M'] });
    await addPartition(daxd, 'alpha', 4 * MIB);
    const client = await Transmission.start(t, daxd.address, 'pmem0');
    truncateSync(daxd.image, 0);
    await client.disconnect();
    const lines = await eventually(
      () =>
        daxd.stderr.filter((line) => line.includes('the partition table that NBD clients left')),
      ({ length }) => length > 0,
    );
    t.match(lines[0] ?? '', /EIO.* is not taken: .*shrank from 33554432 to 0 bytes/);
    await serves(t, daxd);
    const list = `${daxd.url}/v1/partitions`;
    t.equal(
      (await curl(list)).json.code,
      'EIO',
      'nor is its filesystem looked for through the map',
    );
    truncateSync(daxd.image, 32 * MIB);
    t.equal((await curl(list)).json[0].label, 'alpha', 'the partitions are as before');
  },
);

t.test(
  'a disk of nothing but holes over a full filesystem is left by its last client',
  async (t) => {
    if (!requires(t, { commands: ['mount'], root: true })) return;
    const mountpoint = mountSmallTmpfs(t);
    const image = join(mountpoint, 'pmem0.img');
    const daxd = await startNbd(t, { image, args: ['--size', '64M', '--sparse'] });
    await addPartition(daxd, 'alpha', 4 * MIB);
    const client = await Transmission.start(t, daxd.address, 'pmem0');
    t.equal(await client.errorOf({ command: Command.Trim, length: 64 * MIB }), 0);
    t.throws(
      () => {
        writeFileSync(join(mountpoint, 'filler'), Buffer.alloc(4 * MIB));
      },
      { code: 'ENOSPC' },
    );
    await client.disconnect();
    const partitions = await eventually(
      async () => (await curl(`${daxd.url}/v1/partitions`)).json,
      ({ length }) => length === 0,
    );
    t.strictSame(partitions, [], 'the table was read again: there is none');
    await serves(t, daxd);
  },
);

t.test('a hole over a full filesystem in memory is ENOSPC', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  await fillsUp(t, mountSmallTmpfs(t), true);
});

t.test('a hole over a full ext4 is ENOSPC', async (t) => {
  if (!requires(t, { commands: ['mount', 'mkfs.ext4'], root: true })) return;
  await fillsUp(t, mountSmallExt4(t, scratchDirectory(t)), false);
});

/** On a disk of 16 MiB with room for 2: what ext4 allocates, it then cannot write. */
async function startOnFailingDisk(t: Test) {
  const mountpoint = mountSmallExt4(t, mountSmallTmpfs(t));
  const image = join(mountpoint, 'pmem0.img');
  writeFileSync(image, '');
  truncateSync(image, 8 * MIB);
  return startNbd(t, { image });
}

t.test(
  'a disk that cannot be written under a flush is an error, and the next one too',
  async (t) => {
    if (!requires(t, { commands: ['mount', 'mkfs.ext4'], root: true })) return;
    const daxd = await startOnFailingDisk(t);
    const client = await Transmission.start(t, daxd.address, '');
    await client.write(0, Buffer.alloc(8 * MIB, 1));
    const flushing = { command: Command.Flush };
    const failures: number[] = [NbdErrno.EIO, NbdErrno.ENOSPC];
    t.ok(failures.includes(await client.errorOf(flushing)));
    const fua = {
      command: Command.Write,
      payload: Buffer.alloc(8 * MIB, 2),
      flags: CommandFlag.Fua,
    };
    t.ok(failures.includes(await client.errorOf(fua)));
    t.equal((await client.read(0, 1))[0], 2, 'the map still has it');
    await serves(t, daxd);
  },
);

t.test(
  'a write that the disk refused is an error to each client that flushes, not to one',
  async (t) => {
    if (!requires(t, { commands: ['mount', 'mkfs.ext4'], root: true })) return;
    const daxd = await startOnFailingDisk(t);
    const open = async (): Promise<Transmission> => Transmission.start(t, daxd.address, '');
    const [writer, other, third] = [await open(), await open(), await open()];
    await writer.write(0, Buffer.alloc(8 * MIB, 1));
    const flushing = { command: Command.Flush };
    const failures: number[] = [NbdErrno.EIO, NbdErrno.ENOSPC];
    t.ok(failures.includes(await writer.errorOf(flushing)), 'who wrote it');
    t.ok(failures.includes(await other.errorOf(flushing)), 'who did not');
    const fua = { command: Command.Write, payload: Buffer.of(1), flags: CommandFlag.Fua };
    t.ok(failures.includes(await third.errorOf(fua)), 'who asks with FUA');
    await serves(t, daxd);
  },
);

t.test('clients for whom there is no thread to be had are refused', async (t) => {
  if (!requires(t, { commands: ['prlimit'] })) return;
  const daxd = await startNbd(t, { args: ['--size', '32M', '--log-level', 'warn'] });
  const served = await Transmission.start(t, daxd.address, '');
  const limit = (count: number): void => {
    const of = [`--pid=${daxd.child.pid}`, `--nofile=${count}:`];
    const { status, output } = runJudge('prlimit', of);
    t.equal(status, 0, output);
  };
  const descriptors = readdirSync(`/proc/${daxd.child.pid}/fd`).map(Number);
  const room = Math.max(...descriptors) + 1;
  // A connection takes one, a thread of its own some more: each of these counts ends it elsewhere.
  for (let more = 4; more < 40; more++) {
    limit(room + more);
    const clients = Array.from({ length: 8 }, () => createConnection(daxd.address));
    await Promise.all(clients.map(async (client) => once(client, 'connect')));
    await Promise.race([once(clients[7] ?? t, 'data'), once(clients[7] ?? t, 'close'), sleep(300)]);
    t.equal((await served.read(0, 4096)).length, 4096, `with room for ${more} more`);
    for (const client of clients) client.destroy();
  }
  limit(1024);
  const more = Array.from({ length: 8 }, async () => Transmission.start(t, daxd.address, ''));
  for (const client of await Promise.all(more)) t.equal((await client.read(0, 1)).length, 1);
  await serves(t, daxd);
  await eventually(
    () => daxd.stderr.join('\n'),
    (log) => /no thread could be started/.test(log),
  );
  t.match(daxd.stderr.join('\n'), /no thread could be started/);
});
