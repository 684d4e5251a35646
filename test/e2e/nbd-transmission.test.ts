/** Requests and replies of the NBD transmission phase with compact headers, by hand. */
import t from 'tap';

import { MIB } from '../../src/lib/units.js';
import { encodeRequest } from '../support/nbd/message.js';
import { ChunkType, Command, CommandFlag, NbdErrno } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { testSeed } from '../support/random-test.js';
import { SeededRandom } from '../support/seeded-random.js';
import { metric } from './daxd.js';
import { addPartition, clientCounts, eventually, isRunning, startNbd } from './nbd.js';
import { isServed, WRONG_BYTE, wrongRequests } from './nbd-errors.js';

const PART_BYTES = 16 * MIB;
const WIDE_BYTES = 80 * MIB;

const daxd = await startNbd(t, { args: ['--size', '128M', '--sparse'] });
await addPartition(daxd, 'small', PART_BYTES);
await addPartition(daxd, 'wide', WIDE_BYTES);
const { address } = daxd;
const random = new SeededRandom(testSeed(t));
const contexts = ['base:allocation'];

const series = (name: string, labels: string): string => `daxd_nbd_${name}{${labels}}`;

for (const style of ['simple', 'structured'] as const) {
  t.test(`${style} replies: wrong requests get their error and nothing else`, async (t) => {
    const options = style === 'simple' ? { style } : { style, contexts };
    const client = await Transmission.start(t, address, 'pmem0p1', options);
    for (const { name, request, errno } of wrongRequests(PART_BYTES, style)) {
      const reply = await client.call(request);
      t.equal(reply.error, errno, `${name}: ${reply.message}`);
      await isServed(t, client, name);
    }
    const bytes = await client.read(0, PART_BYTES);
    t.equal(bytes.indexOf(Buffer.alloc(512, WRONG_BYTE)), -1, 'no payload of theirs was written');
  });

  t.test(`${style} replies: FUA is taken with every command`, async (t) => {
    const options = style === 'simple' ? { style } : { style, contexts };
    const client = await Transmission.start(t, address, 'pmem0p1', options);
    const { Read, Flush, Trim, Cache, WriteZeroes, BlockStatus } = Command;
    const others = style === 'simple' ? [] : [BlockStatus];
    for (const command of [Read, Trim, Cache, WriteZeroes, ...others]) {
      const request = { command, flags: CommandFlag.Fua, offset: 4096, length: 4096 };
      t.equal(await client.errorOf(request), 0, `command ${command}`);
    }
    t.equal(await client.errorOf({ command: Flush, flags: CommandFlag.Fua }), 0);
    await client.write(1, Buffer.from('fua'), CommandFlag.Fua);
  });

  t.test(`${style} replies: requests of no length break nothing`, async (t) => {
    const options = style === 'simple' ? { style } : { style, contexts };
    const client = await Transmission.start(t, address, 'pmem0p1', options);
    const others = style === 'simple' ? [] : [Command.BlockStatus];
    for (const command of [0, 1, 4, 5, 6, ...others]) {
      for (const offset of [0, 4095, PART_BYTES]) {
        const error = await client.errorOf({ command, offset, length: 0 });
        const lenient: number[] = [0, NbdErrno.EINVAL];
        t.ok(lenient.includes(error), `command ${command} at ${offset}: ${error}`);
        await isServed(t, client, `command ${command}`);
      }
    }
  });
}

t.test('reads up to 32 MiB; longer ones are refused', async (t) => {
  const { Read } = Command;
  const most = 32 * MIB;
  const client = await Transmission.start(t, address, 'pmem0p2');
  const ends = [Buffer.from('first'), Buffer.from('last!')] as const;
  await client.write(3, ends[0]);
  await client.write(3 + most - 5, ends[1]);
  for (const flags of [0, CommandFlag.Df]) {
    const data = await client.read(3, most, flags);
    t.ok(ends[0].equals(data.subarray(0, 5)) && ends[1].equals(data.subarray(-5)));
  }
  const whole = await client.call({ command: Read, length: most, flags: CommandFlag.Df });
  const content: number[] = [ChunkType.OffsetData, ChunkType.OffsetHole];
  t.equal(whole.chunks.filter(({ type }) => content.includes(type)).length, 1, 'not in fragments');
  for (const length of [most + 1, 64 * MIB, WIDE_BYTES]) {
    t.equal(await client.errorOf({ command: Read, length }), NbdErrno.EINVAL);
    const fragmented = { command: Read, length, flags: CommandFlag.Df };
    t.equal(await client.errorOf(fragmented), NbdErrno.EOVERFLOW);
  }
  const simple = await Transmission.start(t, address, 'pmem0p2', { style: 'simple' });
  t.ok(ends[1].equals((await simple.read(3, most)).subarray(-5)));
  t.equal(await simple.errorOf({ command: Read, length: most + 1 }), NbdErrno.EINVAL);
});

t.test('writes up to 32 MiB; up to 64 MiB are read and refused, more closes', async (t) => {
  const { Write, Read } = Command;
  const most = 32 * MIB;
  const client = await Transmission.start(t, address, 'pmem0p2');
  t.equal(await client.errorOf({ command: Command.Trim, length: WIDE_BYTES }), 0);
  const payload = Buffer.alloc(64 * MIB, 0x5a);
  await client.write(1, payload.subarray(0, most));
  t.equal((await client.read(0, 2)).toString('hex'), '005a');
  t.equal((await client.read(most, 2)).toString('hex'), '5a00');
  for (const length of [most + 1, 64 * MIB]) {
    const request = { command: Write, offset: 0, payload: payload.subarray(0, length) };
    t.equal(await client.errorOf(request), NbdErrno.EINVAL);
    t.equal((await client.read(0, 1)).toString('hex'), '00', 'nothing of it was written');
  }
  const reading = { command: Read, length: 1, cookie: 3n };
  const huge = { command: Write, length: 64 * MIB + 1, cookie: 4n };
  const both = [encodeRequest('structured', huge), encodeRequest('structured', reading)];
  await client.stream.write(Buffer.concat(both));
  t.equal((await client.stream.readToEnd()).length, 0);
  t.ok(isRunning(daxd));
});

t.test('a wrong magic closes, and what follows is not looked at', async (t) => {
  for (const magic of [0x25609514, 0x12560953, 0x67446698, 0x21e41c71, 0]) {
    const client = await Transmission.start(t, address, 'pmem0p1', { style: 'simple' });
    const good = encodeRequest('simple', { command: Command.Read, length: 8, cookie: 1n });
    const bad = encodeRequest('simple', { command: Command.Read, length: 8, cookie: 2n });
    bad.writeUInt32BE(magic);
    await client.stream.write(Buffer.concat([good, bad, good]));
    // A hard close may take the reply with it, but not a part of it.
    const { length } = await client.stream.readToEnd();
    t.ok(length === 0 || length === 16 + 8, `${magic.toString(16)}: ${length} bytes`);
  }
});

t.test('DISC: what is under way is answered, then the connection is closed', async (t) => {
  const client = await Transmission.start(t, address, 'pmem0p2', { style: 'simple' });
  const requests = Array.from({ length: 32 }, (_, index) =>
    encodeRequest('simple', {
      command: 0,
      offset: index * MIB,
      length: MIB,
      cookie: BigInt(index),
    }),
  );
  const after = { command: Command.Write, offset: 0, payload: Buffer.from('after DISC') };
  const disc = encodeRequest('simple', { command: Command.Disc });
  await client.stream.write(Buffer.concat([...requests, disc, encodeRequest('simple', after)]));
  t.equal((await client.stream.readToEnd()).length, 32 * (16 + MIB));
  const next = await Transmission.start(t, address, 'pmem0p2');
  t.notMatch((await next.read(0, 10)).toString(), 'after DISC');
});

t.test('half closed: all requests are answered, then the connection is closed', async (t) => {
  const client = await Transmission.start(t, address, 'pmem0p1', { style: 'simple' });
  const read = { command: Command.Read, length: 4096 };
  for (let count = 0; count < 10; count++) await client.send(read);
  client.stream.end();
  for (let count = 0; count < 10; count++) t.equal((await client.receive()).error, 0);
  t.equal((await client.stream.readToEnd()).length, 0);
});

t.test('half a request, half a payload: the connection goes, daxd stays', async (t) => {
  const whole = encodeRequest('structured', {
    command: Command.Write,
    offset: 8 * MIB,
    payload: random.bytes(300_000),
  });
  for (const length of [1, 27, 28, 29, 4096, 150_000, whole.length - 1]) {
    for (const half of [true, false]) {
      const client = await Transmission.start(t, address, 'pmem0p1');
      await client.stream.write(whole.subarray(0, length));
      if (half) client.stream.end();
      else client.stream.destroy();
      if (half) t.equal((await client.stream.readToEnd()).length, 0, 'no acknowledgement');
    }
  }
  t.ok(isRunning(daxd));
  const counts = await eventually(
    () => clientCounts(daxd),
    ({ pmem0p1 }) => pmem0p1 === 0,
  );
  t.equal(counts['pmem0p1'], 0);
});

t.test('requests cut at every byte, and many in one piece', async (t) => {
  const client = await Transmission.start(t, address, 'pmem0p1', { style: 'simple' });
  const bytes = random.bytes(9000);
  await client.write(123, bytes);
  const write = { command: Command.Write, offset: 123, payload: bytes, cookie: 1n };
  const read = { command: Command.Read, offset: 123, length: 9000, cookie: 2n };
  const requests = [write, read];
  const pair = Buffer.concat(requests.map((request) => encodeRequest('simple', request)));
  /** Both replies, in whatever order. */
  const answered = async (): Promise<boolean> => {
    for (const request of requests) client.expect(request);
    const replies = [await client.receive(), await client.receive()];
    const data = replies.find(({ cookie }) => cookie === 2n)?.data(123, 9000);
    return replies.every(({ error }) => error === 0) && bytes.equals(data ?? pair);
  };
  for (const cut of [1, 4, 27, 28, 29, 30, 4096, 8999, 9027, 9028, 9029, 9055]) {
    await client.stream.write(pair.subarray(0, cut));
    await new Promise(setImmediate);
    await client.stream.write(pair.subarray(cut));
    t.ok(await answered(), `cut at ${cut}`);
  }
  const cookies = Array.from({ length: 400 }, (_, index) => BigInt(100 + index));
  const all = cookies.map((cookie, index) => {
    const request = { ...(index % 2 === 0 ? write : read), cookie };
    client.expect(request);
    return encodeRequest('simple', request);
  });
  // Written while the replies are read: together they are more than the sockets hold.
  const written = client.stream.write(Buffer.concat(all.toReversed()));
  const left = new Set(cookies);
  while (left.size > 0) {
    const reply = await client.receive();
    if (!left.delete(reply.cookie)) t.fail(`a second reply to ${reply.cookie}`);
    const right = reply.cookie % 2n === 0n || bytes.equals(reply.data(123, 9000));
    if (reply.error !== 0 || !right) t.fail(`the reply to ${reply.cookie}`);
  }
  await written;
});

t.test('a client that does not read holds nobody up, and gets all in the end', async (t) => {
  const slow = await Transmission.start(t, address, 'pmem0p2');
  const quick = await Transmission.start(t, address, 'pmem0p2');
  const bytes = random.bytes(MIB);
  for (let count = 0; count < 64; count++) await quick.write(count * MIB, bytes);
  for (let count = 0; count < 64; count++) {
    await slow.send({ command: Command.Read, offset: count * MIB, length: MIB });
  }
  for (let count = 0; count < 50; count++) {
    await quick.write(70 * MIB, Buffer.of(count));
    t.equal((await quick.read(70 * MIB, 1))[0], count);
  }
  for (let count = 0; count < 64; count++) {
    const reply = await slow.receive();
    t.ok(bytes.equals(reply.data(count * MIB, MIB)), `reply ${count}`);
  }
});

t.test('what one connection wrote, all others read', async (t) => {
  const clients = await Promise.all(
    Array.from({ length: 6 }, () => Transmission.start(t, address, 'pmem0p1')),
  );
  for (const [index, writer] of clients.entries()) {
    await writer.write(index * 5000, random.bytes(5000));
    const seen = await Promise.all(clients.map((client) => client.read(index * 5000, 5000)));
    for (const bytes of seen) t.ok(bytes.equals(seen[0] ?? bytes));
  }
  t.equal((await clientCounts(daxd))['pmem0p1'], 6);
});

t.test('requests, bytes and connections are counted', async (t) => {
  const writes = series('requests_total', 'export="pmem0p1",command="write",outcome="ok"');
  const bytes = series('request_bytes_total', 'export="pmem0p1",direction="write"');
  const failed = series('requests_total', 'export="pmem0p1",command="read",outcome="EINVAL"');
  const before = await Promise.all(
    [writes, bytes, failed].map(async (name) => (await metric(daxd.url, name)) ?? 0),
  );
  const client = await Transmission.start(t, address, 'pmem0p1');
  for (let count = 0; count < 7; count++) await client.write(0, Buffer.alloc(1000));
  await client.errorOf({ command: Command.Read, offset: PART_BYTES, length: 1 });
  const after = await Promise.all(
    [writes, bytes, failed].map(async (name) => (await metric(daxd.url, name)) ?? 0),
  );
  t.strictSame(
    after.map((value, index) => value - (before[index] ?? 0)),
    [7, 7000, 1],
  );
  const duration = series('request_duration_seconds_count', 'export="pmem0p1",command="write"');
  t.ok(((await metric(daxd.url, duration)) ?? 0) >= 7);
  t.equal(await metric(daxd.url, series('connections_total', 'outcome="timed_out"')), 0);
});
