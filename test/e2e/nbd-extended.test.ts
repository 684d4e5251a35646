/**
 * Extended headers: requests and replies of 32 bytes, lengths of 64 bits. No program of Debian 12
 * speaks them, so all frames are made by hand from the specification.
 */
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { encodeRequest } from '../support/nbd/message.js';
import {
  ChunkType,
  Command,
  CommandFlag,
  NbdErrno,
  Option,
  OptionReplyType,
  TransmissionFlag,
} from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { encodeInfoRequest, encodeOption } from '../support/nbd/option.js';
import { testSeed } from '../support/random-test.js';
import { SeededRandom } from '../support/seeded-random.js';
import { addPartition, startNbd } from './nbd.js';
import { isServed, WRONG_BYTE, wrongRequests } from './nbd-errors.js';

const GIB = 1024 * MIB;
const PART_BYTES = 16 * MIB;
const HUGE_BYTES = 5 * GIB;
const HOLE_AND_ZERO = 3;
const { PayloadLen, Fua, Df, ReqOne } = CommandFlag;
const { Read, Write, WriteZeroes, Trim, Cache, BlockStatus } = Command;

// On a disk: a filesystem in memory fills holes that are read through a map.
const image = join(t.testdir({}), 'pmem0.img');
const daxd = await startNbd(t, { image, args: ['--size', '6G', '--sparse'] });
await addPartition(daxd, 'small', PART_BYTES);
await addPartition(daxd, 'huge', HUGE_BYTES);
const { address } = daxd;
const random = new SeededRandom(testSeed(t));

async function start(t: Test, name = 'pmem0p1', contexts = ['base:allocation']) {
  return Transmission.start(t, address, name, { style: 'extended', contexts });
}

t.test('EXTENDED_HEADERS: before and instead of STRUCTURED_REPLY', async (t) => {
  const connection = await NbdConnection.greet(t, address);
  const [invalid] = await connection.refused(Option.ExtendedHeaders, Buffer.from('x'));
  t.equal(invalid, OptionReplyType.ErrInvalid);
  await connection.accepted(Option.StructuredReply);
  await connection.accepted(Option.ExtendedHeaders);
  const [reqd] = await connection.refused(Option.StructuredReply);
  t.equal(reqd, OptionReplyType.ErrExtHeaderReqd, 'there is no way back');
  const info = await connection.info('pmem0p1');
  t.ok(((info.flags ?? 0) & TransmissionFlag.SendDf) !== 0, 'DF comes with extended headers too');
  t.strictSame(await connection.go('pmem0p1'), info);
  const client = new Transmission(connection.stream, 'extended', info);
  t.equal((await client.read(0, 4096)).length, 4096);
});

t.test('EXTENDED_HEADERS: EXPORT_NAME has no place behind it', async (t) => {
  const connection = await NbdConnection.greet(t, address);
  await connection.accepted(Option.ExtendedHeaders);
  await connection.stream.write(encodeOption(Option.ExportName, Buffer.from('pmem0p1')));
  t.equal((await connection.closed()).length, 0);
});

t.test('EXTENDED_HEADERS: contexts need no STRUCTURED_REPLY', async (t) => {
  const connection = await NbdConnection.greet(t, address);
  await connection.accepted(Option.ExtendedHeaders);
  const listed = await connection.listMetaContext('pmem0p1', []);
  t.strictSame(listed.map(({ name }) => name).toSorted(), ['base:allocation', 'daxd:lease']);
  t.equal((await connection.setMetaContext('pmem0p1', ['base:allocation'])).length, 1);
});

t.test('wrong requests get their error and nothing else', async (t) => {
  const client = await start(t);
  for (const { name, request, errno } of wrongRequests(PART_BYTES, 'extended')) {
    const reply = await client.call(request);
    t.equal(reply.error, errno, `${name}: ${reply.message}`);
    await isServed(t, client, name);
  }
  const bytes = await client.read(0, PART_BYTES);
  t.equal(bytes.indexOf(Buffer.alloc(512, WRONG_BYTE)), -1, 'no payload of theirs was written');
});

t.test('lengths past 2^32 and past 2^63 at offsets past the end', async (t) => {
  const client = await start(t);
  const lengths = [2n ** 32n, 2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
  for (const length of lengths) {
    for (const offset of [0n, 1n, BigInt(PART_BYTES), 2n ** 63n, 2n ** 64n - 1n]) {
      for (const command of [Trim, Cache, WriteZeroes, BlockStatus]) {
        const expected = command === WriteZeroes ? NbdErrno.ENOSPC : NbdErrno.EINVAL;
        const error = await client.errorOf({ command, offset, length });
        t.equal(error, expected, `command ${command}, ${length} bytes at ${offset}`);
      }
      t.equal(await client.errorOf({ command: Read, offset, length }), NbdErrno.EINVAL);
    }
  }
  await isServed(t, client, 'after all of them');
});

t.test('every reply is an extended one with the offset of its request', async (t) => {
  const client = await start(t);
  const requests = [
    { command: Read, offset: 4097, length: 100 },
    { command: Write, offset: 4097, flags: PayloadLen | Fua, payload: Buffer.from('payload') },
    { command: Trim, offset: 8192, length: 4096 },
    { command: Cache, offset: 1, length: 4096 },
    { command: WriteZeroes, offset: 12_288, length: 4096 },
    { command: BlockStatus, offset: 512, length: 4096 },
    { command: Command.Flush },
    { command: 77, offset: 2n ** 64n - 1n, length: 7 },
  ];
  for (const request of requests) {
    const { chunks } = await client.call(request);
    for (const { style, offset } of chunks) {
      t.equal(style, 'extended');
      t.equal(offset, BigInt('offset' in request ? request.offset : 0));
    }
  }
  const [chunk] = (await client.call({ command: Read, offset: 4097, length: 7 })).chunks;
  t.equal(chunk?.type, ChunkType.OffsetData);
  t.equal(chunk?.payload.readBigUInt64BE(0), 4097n);
});

t.test('PAYLOAD_LEN: a write must have it, whatever has it is read to the end', async (t) => {
  const client = await start(t);
  t.equal(await client.errorOf({ command: Write, length: 4096 }), NbdErrno.EINVAL);
  await isServed(t, client, 'a write without payload');
  const payload = random.bytes(100_000);
  for (const command of [Read, Trim, Cache, WriteZeroes, Command.Flush, 8, 99]) {
    const error = await client.errorOf({ command, flags: PayloadLen, payload });
    t.equal(error, NbdErrno.EINVAL, `command ${command}`);
    await isServed(t, client, `the payload of command ${command}`);
  }
});

t.test('PAYLOAD_LEN: more than the server takes closes the connection', async (t) => {
  for (const length of [64n * BigInt(MIB) + 1n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n]) {
    const client = await start(t);
    const request = { command: Write, flags: PayloadLen, length };
    await client.stream.write(encodeRequest('extended', request));
    t.equal((await client.stream.readToEnd()).length, 0, `${length} bytes`);
  }
});

t.test(
  'a batch that is full of errors has room for the writes that are still to be answered',
  async (t) => {
    const client = await start(t, 'pmem0p2');
    const zeroes = { command: WriteZeroes, length: 32 * MIB, flags: CommandFlag.NoHole };
    // While these are stored all the others come, so that one call of the server receives them.
    for (let count = 0; count < 3; count++) await client.send(zeroes);
    const requests = [
      ...Array.from({ length: 3000 }, () => ({ command: 99 })),
      ...Array.from({ length: 1023 }, () => ({
        command: Write,
        flags: PayloadLen,
        payload: Buffer.of(1),
      })),
    ];
    const frames = requests.map((request, i) => {
      const sent = { ...request, cookie: 10_000n + BigInt(i) };
      client.expect(sent);
      return encodeRequest('extended', sent);
    });
    await client.stream.write(Buffer.concat(frames));
    for (let count = 0; count < 3; count++) t.equal((await client.receive()).error, 0);
    const errors = new Map<number, number>();
    for (let left = requests.length; left > 0; left--) {
      const { error } = await client.receive();
      errors.set(error, (errors.get(error) ?? 0) + 1);
    }
    t.strictSame(
      [...errors].toSorted(([a], [b]) => a - b),
      [
        [0, 1023],
        [NbdErrno.EINVAL, 3000],
      ],
    );
    t.equal(await client.errorOf({ command: Trim, length: 32 * MIB }), 0, 'a hole again');
  },
);

t.test('BLOCK_STATUS with a payload: not offered, and read to its end', async (t) => {
  const client = await start(t);
  const offered = ((client.info.flags ?? 0) & TransmissionFlag.BlockStatusPayload) !== 0;
  t.notOk(offered);
  const payload = Buffer.alloc(12);
  payload.writeBigUInt64BE(4096n);
  payload.writeUInt32BE(client.contexts.get('base:allocation') ?? 0, 8);
  const error = await client.errorOf({ command: BlockStatus, flags: PayloadLen, payload });
  t.equal(error, NbdErrno.EINVAL);
  await isServed(t, client, 'its payload');
});

t.test('DF and REQ_ONE', async (t) => {
  const client = await start(t);
  const bytes = random.bytes(9000);
  await client.write(100, bytes);
  const read = { command: Read, offset: 100, length: 9000, flags: Df };
  const reply = await client.call(read);
  t.ok(bytes.equals(reply.data(100, 9000)));
  t.equal(reply.chunks.filter(({ type }) => type === ChunkType.OffsetData).length, 1);
  const one = await client.call({ command: BlockStatus, length: 100, flags: ReqOne });
  const [extents] = one.extents().values();
  t.equal(extents?.length, 1);
  t.ok((extents?.[0]?.length ?? 0) <= 100);
  t.ok(one.chunks.every(({ type }) => type === ChunkType.BlockStatusExt || type === 0));
});

t.test('one request of 5 GiB: status, cache, zeroes, trim', async (t) => {
  const client = await start(t, 'pmem0p2');
  t.equal(client.size, HUGE_BYTES);
  const id = client.contexts.get('base:allocation') ?? -1;
  const status = async (): Promise<number[][] | undefined> => {
    const reply = await client.call({ command: BlockStatus, length: HUGE_BYTES });
    return reply
      .extents()
      .get(id)
      ?.map(({ length, status: state }) => [length, state]);
  };
  t.strictSame(await status(), [[HUGE_BYTES, HOLE_AND_ZERO]]);
  const far = 4 * GIB + 12_288;
  await client.write(far, Buffer.alloc(4096, 7));
  const around = [
    [far, HOLE_AND_ZERO],
    [4096, 0],
    [HUGE_BYTES - far - 4096, HOLE_AND_ZERO],
  ];
  t.strictSame(await status(), around);
  t.equal(await client.errorOf({ command: Cache, length: HUGE_BYTES }), 0);
  t.strictSame(await status(), around, 'no hole was filled');
  t.equal(await client.errorOf({ command: WriteZeroes, length: HUGE_BYTES }), 0);
  t.strictSame(await status(), [[HUGE_BYTES, HOLE_AND_ZERO]]);
  t.ok((await client.read(far, 4096)).equals(Buffer.alloc(4096)));
  await client.write(far, Buffer.alloc(4096, 8));
  t.equal(await client.errorOf({ command: Trim, length: HUGE_BYTES, flags: Fua }), 0);
  t.strictSame(await status(), [[HUGE_BYTES, HOLE_AND_ZERO]]);
});

t.test('the same bytes with every header', async (t) => {
  const clients = await Promise.all(
    (['simple', 'structured', 'extended'] as const).map((style) =>
      Transmission.start(t, address, 'pmem0p1', { style }),
    ),
  );
  for (const writer of clients) {
    const offset = random.below(PART_BYTES - 70_000);
    const bytes = random.bytes(1 + random.below(65_536));
    await writer.write(offset, bytes);
    for (const reader of clients) t.ok(bytes.equals(await reader.read(offset, bytes.length)));
  }
});

t.test('a wrong magic closes', async (t) => {
  const client = await start(t);
  const compact = encodeRequest('structured', { command: Read, length: 8 });
  await client.stream.write(Buffer.concat([compact, Buffer.alloc(4)]));
  t.equal((await client.stream.readToEnd()).length, 0);
  const next = await NbdConnection.greet(t, address);
  t.equal((await next.option(Option.Info, encodeInfoRequest('pmem0p1'))).at(-1)?.type, 1);
});
