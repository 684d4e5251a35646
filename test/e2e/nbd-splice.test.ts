/** Large reads, whose pages go to the socket by reference. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { KIB, MIB } from '../../src/lib/units.js';
import { Command, CommandFlag } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { SeededRandom } from '../support/seeded-random.js';
import { testSeed } from '../support/random-test.js';
import { curl, metric } from './daxd.js';
import { eventually, noClients, startNbd, tcpPort } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const SIZE = 16 * MIB;

/** A daemon whose export holds these bytes. */
async function serve(t: Test, bytes: Buffer, args: readonly string[] = []): Promise<NbdDaxd> {
  const directory = scratchDirectory(t);
  writeFileSync(join(directory, 'pmem0.img'), bytes);
  return startNbd(t, { directory, args });
}

for (const style of ['simple', 'structured', 'extended'] as const) {
  t.test(`large reads have the right bytes, wherever they begin: ${style}`, async (t) => {
    const random = new SeededRandom(testSeed(t));
    const bytes = random.bytes(SIZE);
    const daxd = await serve(t, bytes, ['--nbd', '127.0.0.1:0']);
    for (const address of [daxd.address, { host: '127.0.0.1', port: tcpPort(daxd) }]) {
      const client = await Transmission.start(t, address, '', { style });
      const lengths = [64 * KIB, 64 * KIB + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 8 * MIB];
      const df = style === 'simple' ? 0 : CommandFlag.Df;
      for (const [length, flags] of lengths.flatMap((each) => [
        [each, 0] as const,
        [each, df] as const,
      ])) {
        const offset = random.below(SIZE - length + 1);
        const reply = await client.call({ command: Command.Read, offset, length, flags });
        const wanted = bytes.subarray(offset, offset + length);
        t.equal(reply.error, 0);
        t.ok(reply.data(offset, length).equals(wanted), `${length} bytes at ${offset}`);
        const data = reply.chunks.filter(({ payload }) => payload.length > 0);
        if (flags !== 0) t.equal(data.length, 1, 'with DF in one chunk');
      }
    }
  });
}

t.test(
  'small and large reads and writes, sent at once, are answered each with its own',
  async (t) => {
    const random = new SeededRandom(testSeed(t));
    const bytes = random.bytes(SIZE);
    const daxd = await serve(t, bytes);
    const client = await Transmission.start(t, daxd.address, '');
    const payload = random.bytes(4 * KIB);
    for (let round = 0; round < 25; round++) {
      const reads = new Map<bigint, readonly [offset: number, length: number]>();
      for (let i = 8 * round; i < 8 * round + 8; i++) {
        const length = [512, 4 * KIB, 40 * KIB, 128 * KIB, MIB, 2 * MIB][random.below(6)] ?? 0;
        const offset = MIB + random.below(SIZE - MIB - length);
        reads.set(await client.send({ command: Command.Read, offset, length }), [offset, length]);
        await client.send({ command: Command.Write, offset: 4 * KIB * i, payload });
      }
      for (let i = 0; i < 16; i++) {
        const reply = await client.receive();
        if (reply.error !== 0) t.fail(`a reply says ${reply.error}`);
        const [offset, length] = reads.get(reply.cookie) ?? [0, 0];
        if (length === 0) continue;
        const wanted = bytes.subarray(offset, offset + length);
        if (!reply.data(offset, length).equals(wanted)) t.fail(`other bytes at ${offset}`);
      }
    }
    const written = await client.read(0, 4 * KIB * 200);
    t.ok(written.equals(Buffer.concat(Array.from({ length: 200 }, () => payload))));
  },
);

/** How many pipes the process has open. */
function pipes(daxd: NbdDaxd): number {
  const folder = `/proc/${daxd.child.pid}/fd`;
  return readdirSync(folder).filter((fd) => readlinkSync(join(folder, fd)).startsWith('pipe:'))
    .length;
}

t.test(
  'a client that leaves in the middle of a large read leaves nothing to the next',
  async (t) => {
    const random = new SeededRandom(testSeed(t));
    const bytes = random.bytes(SIZE);
    const daxd = await serve(t, bytes);
    const start = async () => Transmission.start(t, daxd.address, '');
    await (await start()).disconnect();
    const before = pipes(daxd);
    for (let i = 0; i < 24; i++) {
      const deaf = await start();
      deaf.stream.socket.pause();
      for (let read = 0; read < 4; read++) {
        await deaf.send({ command: Command.Read, offset: 0, length: 4 * MIB });
      }
      // Its thread waits for it by now, with a pipe that is full.
      await sleep(20);
      deaf.stream.socket.destroy();
      const next = await start();
      const offset = random.below(SIZE - MIB);
      t.ok((await next.read(offset, MIB)).equals(bytes.subarray(offset, offset + MIB)));
      await next.disconnect();
    }
    await eventually(
      () => metric(daxd.url, 'daxd_nbd_connections'),
      (count) => count === 0,
    );
    // Four workers are warm, and two served at a time.
    const opened = pipes(daxd) - before;
    t.ok(opened <= 2 * 6, `${opened} ends of pipes more`);
  },
);

/** A client that asks for as much and takes none of it, so that its thread waits; and then leaves. */
async function leaveUnread(t: Test, daxd: NbdDaxd, lengths: readonly number[]): Promise<number> {
  const deaf = await Transmission.start(t, daxd.address, '');
  deaf.stream.socket.pause();
  for (const length of lengths) await deaf.send({ command: Command.Read, offset: 0, length });
  await sleep(100);
  const during = pipes(daxd);
  deaf.stream.socket.destroy();
  await noClients(daxd);
  return during;
}

t.test('no page stays in a pipe for a client that has left', async (t) => {
  const daxd = await serve(t, Buffer.alloc(SIZE, 1));
  await (await Transmission.start(t, daxd.address, '')).disconnect();
  const before = pipes(daxd);
  const during = await leaveUnread(t, daxd, [8 * MIB]);
  t.equal(during, before + 2, 'while it waits there is one');
  t.equal(pipes(daxd), before, 'it is closed, and its pages are free');
});

/** How many reads were counted, whatever their outcome, and how many took their time. */
async function countedReads(
  daxd: NbdDaxd,
): Promise<readonly [requests: number, durations: number]> {
  const { body } = await curl(`${daxd.url}/metrics`);
  const sum = (name: string): number =>
    body
      .split('\n')
      .filter((line) => line.startsWith(`${name}{export="pmem0",command="read"`))
      .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' '))), 0);
  return [sum('daxd_nbd_requests_total'), sum('daxd_nbd_request_duration_seconds_count')];
}

t.test('a read that its client leaves is counted, as one that took its time, too', async (t) => {
  const daxd = await serve(t, Buffer.alloc(SIZE, 1));
  await leaveUnread(t, daxd, [8 * MIB]);
  t.strictSame(await countedReads(daxd), [1, 1], 'by reference');
  await leaveUnread(
    t,
    daxd,
    Array.from({ length: 100 }, () => 60 * KIB),
  );
  const [requests, durations] = await countedReads(daxd);
  t.ok(requests > 1, `${requests} reads, copied ones among them`);
  t.equal(durations, requests);
});

t.test('their bytes are not copied: the calls are those that pass pages on', async (t) => {
  if (!requires(t, { commands: ['strace'] })) return;
  const directory = scratchDirectory(t);
  const trace = join(directory, 'trace');
  const calls = 'trace=sendmsg,vmsplice,splice,process_vm_readv';
  const strace = ['strace', '-D', '-f', '-qq', '-o', trace, '-e', calls] as const;
  const program = [...strace, process.execPath, 'bin/daxd.js'] as const;
  writeFileSync(join(directory, 'pmem0.img'), Buffer.alloc(SIZE, 1));
  const daxd = await startNbd(t, { directory, program });
  const client = await Transmission.start(t, daxd.address, '');
  await client.read(4096, 8 * MIB);
  await client.disconnect();
  t.equal(await daxd.stop(), 0);
  let spliced = 0;
  let sent = 0;
  for (const [, call, result] of readFileSync(trace, 'utf8').matchAll(/(\w+)\(.* = (\d+)$/gm)) {
    if (call === 'splice') spliced += Number(result);
    if (call === 'sendmsg' || call === 'process_vm_readv') sent += Number(result);
  }
  t.equal(spliced, 8 * MIB);
  t.ok(sent < 4096, `${sent} bytes were copied`);
});
