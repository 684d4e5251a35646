/** Metadata contexts over NBD: how they are chosen, and what BLOCK_STATUS then says. */
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { encodeContextRequest } from '../support/nbd/option.js';
import {
  Command,
  CommandFlag,
  NbdErrno,
  Option,
  OptionReplyType,
} from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { curl } from './daxd.js';
import { addPartition, leaseRaw, startNbd } from './nbd.js';

const PART_BYTES = 16 * MIB;
const ALLOCATION = 'base:allocation';
const LEASE = 'daxd:lease';
const HOLE_AND_ZERO = 3;

// On a disk: a filesystem in memory fills holes that are read through a map.
const image = join(t.testdir({}), 'pmem0.img');
const daxd = await startNbd(t, { image, args: ['--size', '64M', '--sparse'] });
await addPartition(daxd, 'first', PART_BYTES);
await addPartition(daxd, 'second', PART_BYTES);
const { address } = daxd;

/** A connection that may ask for contexts. */
async function structured(t: Test): Promise<NbdConnection> {
  const connection = await NbdConnection.greet(t, address);
  await connection.accepted(Option.StructuredReply);
  return connection;
}

/** What BLOCK_STATUS answers after GO of `name`. */
async function statusAfterGo(connection: NbdConnection, name: string): Promise<number> {
  const client = new Transmission(connection.stream, 'structured', await connection.go(name));
  return client.errorOf({ command: Command.BlockStatus, length: 4096 });
}

/** Lengths and states of all extents of one context in a range. */
async function extentsOf(
  client: Transmission,
  context: string,
  [offset, length]: readonly [number, number],
  flags = 0,
): Promise<number[][] | undefined> {
  const reply = await client.call({ command: Command.BlockStatus, offset, length, flags });
  const extents = reply.extents().get(client.contexts.get(context) ?? -1);
  return extents?.map(({ length: bytes, status }) => [bytes, status]);
}

t.test('before STRUCTURED_REPLY they are invalid', async (t) => {
  const connection = await NbdConnection.greet(t, address);
  for (const option of [Option.ListMetaContext, Option.SetMetaContext]) {
    const [type] = await connection.refused(option, encodeContextRequest('pmem0p1', [ALLOCATION]));
    t.equal(type, OptionReplyType.ErrInvalid);
  }
});

t.test('LIST: all without a query, a namespace by its wildcard, unknown ones not', async (t) => {
  const connection = await structured(t);
  const listed = async (...queries: string[]): Promise<string[]> =>
    (await connection.listMetaContext('pmem0p1', queries)).map(({ name }) => name).toSorted();
  t.strictSame(await listed(), [ALLOCATION, LEASE]);
  t.strictSame(await listed('base:'), [ALLOCATION]);
  t.strictSame(await listed('daxd:'), [LEASE]);
  t.strictSame(await listed(ALLOCATION), [ALLOCATION]);
  t.strictSame(await listed(LEASE, ALLOCATION), [ALLOCATION, LEASE]);
  t.strictSame(await listed('base:', ALLOCATION), [ALLOCATION], 'none twice');
  t.strictSame(await listed('base:alloc', 'base:allocation2', 'daxd:leases'), []);
  t.strictSame(await listed('qemu:', 'x-y:z', 'nbd-server:a'), []);
  t.equal(await statusAfterGo(connection, 'pmem0p1'), NbdErrno.EINVAL, 'listing selects nothing');
});

t.test('SET: chosen by their whole name, each with a number of its own', async (t) => {
  const connection = await structured(t);
  const set = async (...queries: string[]): Promise<string[]> =>
    (await connection.setMetaContext('pmem0p1', queries)).map(({ name }) => name).toSorted();
  t.strictSame(await set('base:', 'daxd:', 'qemu:allocation-depth', 'base:nothing'), []);
  t.strictSame(await set(ALLOCATION, ALLOCATION), [ALLOCATION]);
  const both = await connection.setMetaContext('pmem0p1', [LEASE, 'x-a:b', ALLOCATION]);
  t.strictSame(both.map(({ name }) => name).toSorted(), [ALLOCATION, LEASE]);
  t.equal(new Set(both.map(({ id }) => id)).size, 2);
  t.equal(await statusAfterGo(connection, 'pmem0p1'), 0);
});

t.test('SET: each one replaces the one before, even where it fails', async (t) => {
  const { SetMetaContext } = Option;
  const broken = Buffer.from('00000007706d656d3070310000000100000020', 'hex');
  const clearing = {
    'no queries': async (connection: NbdConnection) =>
      connection.setMetaContext('pmem0p1', []).then(() => 0),
    'nothing that is known': async (connection: NbdConnection) =>
      connection.setMetaContext('pmem0p1', ['x-a:b']).then(() => 0),
    'a broken payload': async (connection: NbdConnection) =>
      (await connection.refused(SetMetaContext, broken))[0],
    'an unknown export': async (connection: NbdConnection) =>
      (await connection.refused(SetMetaContext, encodeContextRequest('pmem9', [ALLOCATION])))[0],
    'another export': async (connection: NbdConnection) =>
      connection.setMetaContext('pmem0p2', [ALLOCATION]).then(() => 0),
  };
  const types: Record<string, number> = {
    'a broken payload': OptionReplyType.ErrInvalid,
    'an unknown export': OptionReplyType.ErrUnknown,
  };
  for (const [name, clear] of Object.entries(clearing)) {
    const connection = await structured(t);
    t.equal((await connection.setMetaContext('pmem0p1', [ALLOCATION])).length, 1);
    t.equal(await clear(connection), types[name] ?? 0, name);
    t.equal(await statusAfterGo(connection, 'pmem0p1'), NbdErrno.EINVAL, `${name} clears`);
  }
});

t.test('SET: the export must be that of GO; an empty name is the default one', async (t) => {
  const connection = await structured(t);
  await connection.setMetaContext('', [ALLOCATION]);
  t.equal(await statusAfterGo(connection, ''), 0);
});

t.test('SET and LIST: lengths that do not match are invalid', async (t) => {
  const connection = await structured(t);
  const name = '00000007706d656d307031';
  const payloads = {
    nothing: '',
    'half a length': '000000',
    'no count': name,
    'half a count': `${name}0000`,
    'a name of 2^32-1': `ffffffff706d656d3070310000000000000000`,
    'a query that is not there': `${name}00000001`,
    'a query longer than the rest': `${name}0000000100000005626173653a`.slice(0, -2),
    'a query of 2^32-1': `${name}00000001ffffffff626173653a`,
    '2^32-1 queries': `${name}ffffffff00000005626173653a`,
    'bytes behind the queries': `${name}0000000000`,
  };
  for (const option of [Option.ListMetaContext, Option.SetMetaContext]) {
    for (const [text, hex] of Object.entries(payloads)) {
      const [type] = await connection.refused(option, Buffer.from(hex, 'hex'));
      t.equal(type, OptionReplyType.ErrInvalid, text);
    }
  }
  t.equal((await connection.info('pmem0p1')).size, PART_BYTES, 'the session goes on');
});

t.test('base:allocation of a sparse backing: data, holes, and one extent on request', async (t) => {
  const client = await Transmission.start(t, address, 'pmem0p1', { contexts: [ALLOCATION] });
  const status = async (range: readonly [number, number], flags = 0) =>
    extentsOf(client, ALLOCATION, range, flags);
  t.strictSame(await status([0, PART_BYTES]), [[PART_BYTES, HOLE_AND_ZERO]]);
  await client.write(MIB, Buffer.alloc(8192, 1));
  await client.write(MIB + 8192, Buffer.alloc(4096, 2));
  await client.write(3 * MIB + 100, Buffer.of(1));
  t.strictSame(
    await status([0, PART_BYTES]),
    [
      [MIB, HOLE_AND_ZERO],
      [12_288, 0],
      [2 * MIB - 12_288, HOLE_AND_ZERO],
      [4096, 0],
      [13 * MIB - 4096, HOLE_AND_ZERO],
    ],
    'neighbours of one state are one extent',
  );
  t.strictSame(await status([MIB + 100, 1000], CommandFlag.ReqOne), [[1000, 0]]);
  t.strictSame(await status([0, 2 * MIB], CommandFlag.ReqOne), [[MIB, HOLE_AND_ZERO]]);
  t.strictSame(await status([PART_BYTES - 1, 1], CommandFlag.ReqOne), [[1, HOLE_AND_ZERO]]);
  const sum = (await status([MIB, 4096]))?.[0] ?? [];
  t.ok((sum[0] ?? 0) >= 4096 && sum[1] === 0, 'the last extent may go further than was asked');
});

t.test('daxd:lease: what is pinned, page by page', async (t) => {
  const contexts = [ALLOCATION, LEASE];
  const client = await Transmission.start(t, address, 'pmem0p2', { contexts });
  const status = async (range: readonly [number, number], flags = 0) =>
    extentsOf(client, LEASE, range, flags);
  t.strictSame(await status([0, PART_BYTES]), [[PART_BYTES, 0]]);
  const first = await leaseRaw(daxd, 'pmem0p2', [8192, 4096]);
  const second = await leaseRaw(daxd, 'pmem0p2', [12_288 + 100, 5000]);
  t.strictSame(await status([0, PART_BYTES]), [
    [8192, 0],
    [12_288, 1],
    [PART_BYTES - 20_480, 0],
  ]);
  t.strictSame(await status([4096, 8192], CommandFlag.ReqOne), [[4096, 0]]);
  t.strictSame(await status([8200, 100], CommandFlag.ReqOne), [[100, 1]]);
  const both = await client.call({ command: Command.BlockStatus, length: PART_BYTES });
  t.equal(both.extents().size, 2, 'a chunk a context');
  await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${first}`);
  t.strictSame(await status([0, PART_BYTES]), [
    [12_288, 0],
    [8192, 1],
    [PART_BYTES - 20_480, 0],
  ]);
  await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${second}`);
  t.strictSame(await status([0, PART_BYTES]), [[PART_BYTES, 0]]);
});

t.test('an allocated backing is one extent of data', async (t) => {
  const allocated = await startNbd(t, { args: ['--size', '16M'] });
  const options = { contexts: [ALLOCATION] };
  const client = await Transmission.start(t, allocated.address, '', options);
  t.strictSame(await extentsOf(client, ALLOCATION, [0, 16 * MIB]), [[16 * MIB, 0]]);
});

t.test('a namespace without pages has no leases to show', async (t) => {
  const bare = await startNbd(t, { args: ['--size', '16M', '--force-raw'] });
  const connection = await NbdConnection.greet(t, bare.address);
  await connection.accepted(Option.StructuredReply);
  const listed = await connection.listMetaContext('', []);
  t.strictSame(
    listed.map(({ name }) => name),
    [ALLOCATION],
  );
  t.strictSame(await connection.setMetaContext('', [LEASE]), []);
});

t.test('many extents: all of a chequered export in pieces', async (t) => {
  // In memory: some filesystems on disks round such holes away.
  const chequered = await startNbd(t, { args: ['--size', '16M', '--sparse'] });
  const client = await Transmission.start(t, chequered.address, '', { contexts: [ALLOCATION] });
  t.equal(await client.errorOf({ command: Command.Trim, length: PART_BYTES }), 0);
  const pages = PART_BYTES / 4096;
  for (let page = 0; page < pages; page += 2) {
    await client.send({ command: Command.Write, offset: page * 4096, payload: Buffer.of(1) });
  }
  for (let page = 0; page < pages; page += 2) t.equal((await client.receive()).error, 0);
  const seen: number[] = [];
  for (let offset = 0; offset < PART_BYTES;) {
    const length = PART_BYTES - offset;
    const extents = (await extentsOf(client, ALLOCATION, [offset, length])) ?? [];
    t.ok(extents.length > 0, `${extents.length} extents at ${offset}`);
    for (const [bytes = 0, status = -1] of extents) {
      if (bytes !== 4096) t.fail(`an extent of ${bytes} bytes`);
      seen.push(status);
      offset += bytes;
    }
  }
  t.strictSame(
    seen,
    Array.from({ length: pages }, (_, page) => (page % 2 === 0 ? 0 : HOLE_AND_ZERO)),
  );
});
