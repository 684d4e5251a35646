/** Options of the NBD handshake, one by one, with frames made by hand. */
import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { encodeInfoRequest, encodeOption } from '../support/nbd/option.js';
import {
  ClientFlag,
  Command,
  Info,
  Option,
  OptionReplyType,
  TransmissionFlag,
} from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { addPartition, noClients, startNbd } from './nbd.js';

const SIZE_BYTES = 48 * MIB;
const PART_BYTES = 16 * MIB;
const ALL_ITEMS = [Info.Export, Info.Name, Info.Description, Info.BlockSize];
const PLAIN_FLAGS =
  TransmissionFlag.HasFlags |
  TransmissionFlag.SendFlush |
  TransmissionFlag.SendFua |
  TransmissionFlag.SendTrim |
  TransmissionFlag.SendWriteZeroes |
  TransmissionFlag.CanMultiConn |
  TransmissionFlag.SendCache |
  TransmissionFlag.SendFastZero;

const daxd = await startNbd(t, { args: ['--size', '48M'] });
await addPartition(daxd, 'first', PART_BYTES);
await addPartition(daxd, 'naïve ☃', 8 * MIB);
const { address } = daxd;

async function greet(t: Test, flags?: number): Promise<NbdConnection> {
  await noClients(daxd);
  return NbdConnection.greet(t, address, flags);
}

/** Whether the session goes on where it was. */
async function goesOn(t: Test, connection: NbdConnection): Promise<void> {
  t.equal((await connection.info('pmem0p1')).size, PART_BYTES, 'the session goes on');
}

t.test('LIST: every export with its label and size; a payload is invalid', async (t) => {
  const connection = await greet(t);
  t.strictSame(await connection.list(), [
    { name: 'pmem0', description: `whole disk, ${SIZE_BYTES} bytes` },
    { name: 'pmem0p1', description: `label "first", ${PART_BYTES} bytes` },
    { name: 'pmem0p2', description: `label "naïve ☃", ${8 * MIB} bytes` },
  ]);
  const [type, text] = await connection.refused(Option.List, Buffer.from('x'));
  t.equal(type, OptionReplyType.ErrInvalid);
  t.not(text, '', 'it says why');
  await goesOn(t, connection);
});

t.test('INFO and GO: the same answer, the sizes of blocks in any case', async (t) => {
  const connection = await greet(t);
  const bare = await connection.info('pmem0p1');
  const blockSizes = [1, 4096, 2 ** 25];
  t.strictSame(bare, { size: PART_BYTES, flags: PLAIN_FLAGS, blockSizes });
  const full = await connection.info('pmem0p1', ALL_ITEMS);
  t.strictSame(full, {
    ...bare,
    name: 'pmem0p1',
    description: `label "first", ${PART_BYTES} bytes`,
  });
  t.strictSame(await connection.info('pmem0p1', [...ALL_ITEMS, 4, 0xffff]), full, 'unknown items');
  t.strictSame(await connection.go('pmem0p1', ALL_ITEMS), full);
  const client = new Transmission(connection.stream, 'simple', full);
  t.equal((await client.read(0, 512)).length, 512, 'transmission follows at once');
});

t.test('INFO and GO: the empty name is the whole disk, called by its name', async (t) => {
  const connection = await greet(t);
  const info = await connection.info('', [Info.Name]);
  t.match(info, { size: SIZE_BYTES, name: 'pmem0' });
  t.strictSame(await connection.go('', [Info.Name]), info);
});

t.test('INFO and GO: an unknown name', async (t) => {
  const connection = await greet(t);
  const names = ['pmem1', 'pmem0p3', 'PMEM0', 'pmem0p01', 'x'.repeat(4096), 'é'.repeat(2048)];
  for (const option of [Option.Info, Option.Go]) {
    for (const name of names) {
      const [type, text] = await connection.refused(option, encodeInfoRequest(name));
      t.equal(type, OptionReplyType.ErrUnknown, `${name.slice(0, 20)}: ${text}`);
      t.ok(Buffer.byteLength(text) <= 4096, 'a message is no longer than a string may be');
    }
  }
  await goesOn(t, connection);
});

t.test('INFO and GO: names that are no names of the protocol', async (t) => {
  const connection = await greet(t);
  for (const option of [Option.Info, Option.Go]) {
    const tooLong = await connection.refused(option, encodeInfoRequest('x'.repeat(4097)));
    t.equal(tooLong[0], OptionReplyType.ErrInvalid);
    for (const name of ['ff', '00', '706d656d3000']) {
      const payload = Buffer.from(
        `${(name.length / 2).toString(16).padStart(8, '0')}${name}0000`,
        'hex',
      );
      const [type] = await connection.refused(option, payload);
      const refusals: number[] = [OptionReplyType.ErrInvalid, OptionReplyType.ErrUnknown];
      t.ok(refusals.includes(type), `the name 0x${name}`);
    }
  }
  await goesOn(t, connection);
});

t.test('INFO and GO: lengths that do not match are invalid', async (t) => {
  const connection = await greet(t);
  const payloads = {
    nothing: '',
    'half a length': '0000',
    'no count': '00000000',
    'half a count': '0000000000',
    'a name longer than the rest': '00000010706d656d300000',
    'a name that leaves no count': '00000005706d656d30',
    'a length of 2^32-1': 'ffffffff706d656d300000',
    'a length of 2^31': '80000000706d656d300000',
    'one item announced, none there': '00000005706d656d300001',
    'one item and a half': '00000005706d656d30000100030a',
    '65535 items announced': '00000005706d656d30ffff0003',
    'bytes behind the items': '00000005706d656d300000ff',
  };
  for (const option of [Option.Info, Option.Go]) {
    for (const [name, hex] of Object.entries(payloads)) {
      const [type] = await connection.refused(option, Buffer.from(hex, 'hex'));
      t.equal(type, OptionReplyType.ErrInvalid, name);
    }
  }
  await goesOn(t, connection);
});

t.test('EXPORT_NAME: 124 zeroes unless the client wants none', async (t) => {
  for (const flags of [0, ClientFlag.FixedNewstyle, ClientFlag.NoZeroes, 3]) {
    for (const [name, size] of [
      ['pmem0p1', PART_BYTES],
      ['', SIZE_BYTES],
    ] as const) {
      const connection = await greet(t, flags);
      const { stream } = connection;
      await stream.write(encodeOption(Option.ExportName, Buffer.from(name)));
      const head = await stream.read(10);
      t.equal(Number(head.readBigUInt64BE(0)), size);
      t.equal(head.readUInt16BE(8), PLAIN_FLAGS);
      if ((flags & ClientFlag.NoZeroes) === 0) {
        t.ok((await stream.read(124)).equals(Buffer.alloc(124)), '124 zeroes');
      }
      const client = new Transmission(stream, 'simple', { size });
      t.equal((await client.read(size - 1, 1)).length, 1);
      t.equal((await client.disconnect()).length, 0, 'not a byte more');
    }
  }
});

t.test('EXPORT_NAME: an unknown name closes the connection without a byte', async (t) => {
  for (const name of ['pmem1', 'x'.repeat(4096), 'x'.repeat(4097), '\0']) {
    const connection = await greet(t);
    await connection.stream.write(encodeOption(Option.ExportName, Buffer.from(name)));
    t.equal((await connection.closed()).length, 0);
  }
});

t.test('EXPORT_NAME: after STRUCTURED_REPLY the reads are structured', async (t) => {
  const connection = await greet(t);
  await connection.accepted(Option.StructuredReply);
  await connection.stream.write(encodeOption(Option.ExportName, Buffer.from('pmem0p1')));
  const flags = (await connection.stream.read(10)).readUInt16BE(8);
  t.equal(flags, PLAIN_FLAGS | TransmissionFlag.SendDf);
  const client = new Transmission(connection.stream, 'structured', {});
  const reply = await client.call({ command: Command.Read, length: 512 });
  t.equal(reply.chunks[0]?.style, 'structured');
});

t.test('ABORT: acknowledged, then closed', async (t) => {
  for (const payload of [Buffer.alloc(0), Buffer.from('ignored')]) {
    const connection = await greet(t);
    await connection.accepted(Option.Abort, payload);
    t.equal((await connection.closed()).length, 0);
  }
});

t.test('unknown options: unsupported, payload and all, and the session goes on', async (t) => {
  const connection = await greet(t);
  for (const option of [0, Option.PeekExport, 12, 255, 2 ** 31, 2 ** 32 - 1]) {
    for (const length of [0, 1, 4096, 65_536]) {
      const [type] = await connection.refused(option, Buffer.alloc(length, 0x49));
      t.equal(type, OptionReplyType.ErrUnsup, `option ${option}, ${length} bytes`);
    }
  }
  await goesOn(t, connection);
});

t.test('STARTTLS: unsupported where no TLS is set up', async (t) => {
  const connection = await greet(t);
  const [type] = await connection.refused(Option.StartTls);
  const refusals: number[] = [OptionReplyType.ErrUnsup, OptionReplyType.ErrPolicy];
  t.ok(refusals.includes(type));
  await goesOn(t, connection);
});

t.test('STRUCTURED_REPLY: invalid with a payload; DF is offered with it alone', async (t) => {
  const connection = await greet(t);
  const [type] = await connection.refused(Option.StructuredReply, Buffer.alloc(4));
  t.equal(type, OptionReplyType.ErrInvalid);
  t.equal((await connection.info('pmem0p1')).flags, PLAIN_FLAGS, 'nothing was negotiated');
  await connection.accepted(Option.StructuredReply);
  const flags = PLAIN_FLAGS | TransmissionFlag.SendDf;
  t.equal((await connection.info('pmem0p1')).flags, flags);
  t.equal((await connection.go('pmem0p1')).flags, flags);
});
