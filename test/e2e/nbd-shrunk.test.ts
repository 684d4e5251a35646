/** A backing that another process made shorter: what is lost is an error, and never zeros. */
import { truncateSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { encodeRequest } from '../support/nbd/message.js';
import { Command, NbdErrno } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { curl, metric } from './daxd.js';
import { eventually, isRunning, startNbd, tcpPort } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

async function serves(t: Test, daxd: NbdDaxd): Promise<void> {
  t.ok(isRunning(daxd));
  t.equal((await curl(`${daxd.url}/livez`)).status, 200, 'and HTTP goes on');
}

function readsSeries(outcome: string): string {
  return `daxd_nbd_requests_total{export="pmem0",command="read",outcome="${outcome}"}`;
}

for (const style of ['structured', 'extended'] as const) {
  t.test(
    `what lies past the end of a sparse backing that shrank is no hole: ${style}`,
    async (t) => {
      const daxd = await startNbd(t, { args: ['--size', '32M', '--sparse'] });
      const contexts = ['base:allocation'];
      const client = await Transmission.start(t, daxd.address, '', { style, contexts });
      truncateSync(daxd.image, 16 * MIB);
      const status = { command: Command.BlockStatus };
      const inside = await client.call({ ...status, offset: 8 * MIB, length: 8 * MIB });
      const extents = [...inside.extents().values()].flat();
      t.strictSame(extents, [{ length: 8 * MIB, status: 3 }], 'before it there are holes');
      for (const [offset, length] of [
        [16 * MIB, 4096],
        [16 * MIB - 4096, 8192],
        [0, 32 * MIB],
        [24 * MIB, 8 * MIB],
      ] as const) {
        const error = await client.errorOf({ ...status, offset, length });
        t.equal(error, NbdErrno.EIO, `${length} bytes at ${offset}`);
      }
      await serves(t, daxd);
    },
  );
}

t.test('qemu-img makes no zeros of what a backing has lost', async (t) => {
  if (!requires(t, { commands: ['qemu-img'] })) return;
  const daxd = await startNbd(t, { args: ['--size', '32M', '--sparse'] });
  truncateSync(daxd.image, 16 * MIB);
  const copy = join(daxd.directory, 'copy.img');
  const { status } = runJudge('qemu-img', ['convert', '-O', 'raw', daxd.uri('pmem0'), copy]);
  t.not(status, 0);
});

/** Sends reads in one piece, and gives the errors of their replies in their order. */
async function errorsOfReads(
  client: Transmission,
  reads: readonly (readonly [offset: number, length: number])[],
): Promise<number[]> {
  const requests = reads.map(([offset, length], i) => {
    return { command: Command.Read, offset, length, cookie: BigInt(i) };
  });
  for (const request of requests) client.expect(request);
  const bytes = requests.map((request) => encodeRequest(client.style, request));
  await client.stream.write(Buffer.concat(bytes));
  const errors: number[] = [];
  for (const _ of reads) {
    const { cookie, error } = await client.receive();
    errors[Number(cookie)] = error;
  }
  return errors;
}

for (const style of ['structured', 'extended'] as const) {
  t.test(`reads sent together, some of which meet a bad page: ${style}`, async (t) => {
    const daxd = await startNbd(t, { args: ['--size', '32M', '--nbd', '127.0.0.1:0'] });
    const half = 16 * MIB;
    truncateSync(daxd.image, half);
    const good = [0, 16_384] as const;
    const across = [half - 4096, 16_384] as const;
    const bad = [half, 4096] as const;
    const batches = [
      [good, good, across],
      [good, good, across, good, across, across, bad, good],
      [...Array.from({ length: 30 }, () => [0, 4096] as const), bad, good],
      [good, [half - 65_536, 131_072] as const, good],
      // The kernel's first piece ends within the header of the second reply.
      ...[36_460, 36_470, 36_480, 36_490].map((length) => [[0, length] as const, bad, good]),
    ];
    for (const address of [daxd.address, { host: '127.0.0.1', port: tcpPort(daxd) }]) {
      const client = await Transmission.start(t, address, '', { style });
      for (const batch of batches) {
        const wanted = batch.map((read) => (read[0] + read[1] > half ? NbdErrno.EIO : 0));
        t.strictSame(await errorsOfReads(client, batch), wanted, `${batch.length} reads`);
      }
      for (let tries = 0; tries < 32; tries++) {
        for (const [offset, length] of [bad, across]) {
          const error = await client.errorOf({ command: Command.Read, offset, length });
          t.equal(error, NbdErrno.EIO, `a read of ${length} alone`);
        }
        // What a TCP socket takes first depends on what it took before.
        await client.read(0, 1000 * tries);
      }
    }
    await serves(t, daxd);
  });
}

t.test(
  'data ends its reply where the kernel cannot cut in front of it: not over TCP',
  async (t) => {
    const daxd = await startNbd(t, { args: ['--size', '32M', '--nbd', '127.0.0.1:0'] });
    const read = { command: Command.Read, offset: 0, length: 4096 };
    for (const style of ['structured', 'extended'] as const) {
      const local = await Transmission.start(t, daxd.address, '', { style });
      t.equal((await local.call(read)).chunks.length, 1, `${style}, on a Unix socket`);
      const address = { host: '127.0.0.1', port: tcpPort(daxd) };
      const remote = await Transmission.start(t, address, '', { style });
      t.equal((await remote.call(read)).chunks.length, 2, `${style}, over TCP`);
    }
  },
);

t.test('writes behind zeros that found no place are stored', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '32M'] });
  const half = 16 * MIB;
  truncateSync(daxd.image, half);
  const client = await Transmission.start(t, daxd.address, '');
  const zeros = { command: Command.WriteZeroes, offset: half - MIB, length: 2 * MIB };
  t.equal(await client.errorOf(zeros), NbdErrno.EIO);
  for (const offset of [0, 8192]) {
    const bytes = Buffer.alloc(4096, 'written');
    await client.write(offset, bytes);
    t.ok((await client.read(offset, 4096)).equals(bytes), `4096 bytes at ${offset}`);
  }
  await serves(t, daxd);
});

t.test('a simple reply over a bad page ends its connection once it has begun', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '32M'] });
  truncateSync(daxd.image, 16 * MIB);
  const client = await Transmission.start(t, daxd.address, '', { style: 'simple' });
  const read = { command: Command.Read, offset: 15 * MIB, length: 2 * MIB };
  await client.send(read);
  const bytes = await client.stream.readToEnd();
  t.ok(bytes.length < 16 + read.length, `${bytes.length} bytes came`);
  await serves(t, daxd);
});

t.test('a read that fails counts as that, and none of its bytes as read', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '32M'] });
  const half = 16 * MIB;
  truncateSync(daxd.image, half);
  const client = await Transmission.start(t, daxd.address, '');
  for (let i = 0; i < 3; i++) await client.read(0, 1000);
  const across = [half - 65_536, 131_072] as const;
  await errorsOfReads(client, [[0, 1000], [half, 4096], across, [0, 1000]]);
  const simple = await Transmission.start(t, daxd.address, '', { style: 'simple' });
  await simple.send({ command: Command.Read, offset: half - MIB, length: 2 * MIB });
  await simple.stream.readToEnd();
  const bytes = 'daxd_nbd_request_bytes_total{export="pmem0",direction="read"}';
  const counters = [readsSeries('ok'), readsSeries('EIO'), bytes];
  const wanted = [5, 3, 5000];
  const counts = await eventually(
    () => Promise.all(counters.map((series) => metric(daxd.url, series))),
    (found) => found.join() === wanted.join(),
  );
  t.strictSame(counts, wanted);
});
