/** STARTTLS by hand: where it is offered, where it is forced, and clients that break off in it. */
import { once } from 'node:events';
import { readdirSync, rmSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { clientCertificate, makeCertificates } from '../support/nbd/certificates.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { encodeRequest } from '../support/nbd/message.js';
import { encodeInfoRequest, encodeOption } from '../support/nbd/option.js';
import { Command, Option, OptionReplyType, TransmissionFlag } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { testSeed } from '../support/random-test.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { SeededRandom } from '../support/seeded-random.js';
import { metric, startRefused } from './daxd.js';
import { isServed, wrongRequests } from './nbd-errors.js';
import { eventually, isRunning, startNbd, tcpPort } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const COMMANDS = ['certtool'];
const SIZE_BYTES = 40 * MIB;

function certificates(t: Test): string {
  return makeCertificates(join(scratchDirectory(t), 'keys'));
}

async function start(t: Test, keys: string, ...args: string[]): Promise<NbdDaxd> {
  return startNbd(t, { args: ['--size', '40M', '--nbd-tls-certificates', keys, ...args] });
}

/** An address of this machine that others could reach. */
function outsideAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
}

t.test('STARTTLS begins anew, and once', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys);
  const connection = await NbdConnection.greet(t, daxd.address);
  const [invalid] = await connection.refused(Option.StartTls, Buffer.from('x'));
  t.equal(invalid, OptionReplyType.ErrInvalid);
  await connection.accepted(Option.StructuredReply);
  await connection.setMetaContext('pmem0', ['base:allocation']);
  await connection.startTls(clientCertificate(keys));

  t.equal((await connection.list()).length, 1);
  const [again] = await connection.refused(Option.StartTls);
  t.equal(again, OptionReplyType.ErrInvalid);
  const { flags = 0 } = await connection.info('pmem0');
  t.equal(flags & TransmissionFlag.SendDf, 0, 'STRUCTURED_REPLY was forgotten');
  await connection.accepted(Option.StructuredReply);
  const client = await Transmission.negotiate(connection, 'pmem0');
  t.equal(await client.errorOf({ command: Command.BlockStatus, length: 1 }), 22, 'contexts too');
  await client.write(1, Buffer.from('secret'));
  const plain = await Transmission.start(t, daxd.address, 'pmem0');
  t.equal((await plain.read(1, 6)).toString(), 'secret', 'on loopback both are served');
});

t.test('STARTTLS and all behind it in one piece', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys);
  const connection = await NbdConnection.greet(t, daxd.address);
  // What is in clear behind the option must not be taken for what came inside of TLS.
  const sneaked = Buffer.concat([encodeOption(Option.StartTls), encodeOption(Option.List)]);
  await connection.stream.write(sneaked);
  t.equal((await connection.replies(Option.StartTls)).at(-1)?.type, OptionReplyType.Ack);
  const rest = await connection.closed();
  t.notOk(rest.includes('pmem0'), 'an option in clear is no TLS record');
  t.ok(isRunning(daxd));
});

for (const style of ['simple', 'structured', 'extended'] as const) {
  t.test(`${style} replies over TLS: wrong requests, large ones, many`, async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    const keys = certificates(t);
    const daxd = await start(t, keys, '--sparse');
    const connection = await NbdConnection.greet(t, daxd.address);
    await connection.startTls(clientCertificate(keys));
    const contexts = style === 'simple' ? [] : ['base:allocation'];
    const client = await Transmission.negotiate(connection, '', { style, contexts });
    for (const { name, request, errno } of wrongRequests(SIZE_BYTES, style)) {
      const reply = await client.call(request);
      t.equal(reply.error, errno, `${name}: ${reply.message}`);
      await isServed(t, client, name);
    }
    const bytes = new SeededRandom(testSeed(t)).bytes(32 * MIB);
    await client.write(MIB, bytes);
    t.ok(bytes.equals(await client.read(MIB, bytes.length)), '32 MiB in one request');
    const count = 64;
    for (let index = 0; index < count; index++) {
      await client.send({ command: Command.Read, offset: MIB + index * 4096, length: 65_536 });
    }
    for (let index = 0; index < count; index++) {
      const from = index * 4096;
      const data = (await client.receive()).data(MIB + from, 65_536);
      if (!data.equals(bytes.subarray(from, from + 65_536))) t.fail(`read ${index}`);
    }
    t.equal((await client.disconnect()).length, 0);
  });
}

t.test('a client that does not read holds nobody up over TLS', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys);
  const secure = async (): Promise<Transmission> => {
    const connection = await NbdConnection.greet(t, daxd.address);
    await connection.startTls(clientCertificate(keys));
    return Transmission.negotiate(connection, '');
  };
  const slow = await secure();
  const quick = await secure();
  for (let count = 0; count < 40; count++) {
    await slow.send({ command: Command.Read, offset: count * MIB, length: MIB });
  }
  for (let count = 0; count < 30; count++) {
    await quick.write(count, Buffer.of(count));
    t.equal((await quick.read(count, 1))[0], count);
  }
  for (let count = 0; count < 40; count++) t.equal((await slow.receive()).error, 0);
});

t.test('clients that break off in the middle of TLS', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys, '--nbd-handshake-timeout', '2s');
  const acknowledged = async (): Promise<NbdConnection> => {
    const connection = await NbdConnection.greet(t, daxd.address);
    await connection.accepted(Option.StartTls);
    return connection;
  };
  const hello = Buffer.from('16030100c8010000c40303', 'hex');
  for (const bytes of [Buffer.alloc(0), hello, Buffer.from('GET / HTTP/1.1\r\n\r\n')]) {
    const gone = await acknowledged();
    await gone.stream.write(bytes);
    gone.stream.destroy();
    const half = await acknowledged();
    await half.stream.write(bytes);
    half.stream.end();
    await half.closed();
    const silent = await acknowledged();
    await silent.stream.write(bytes);
    await silent.closed();
  }
  const midway = await NbdConnection.greet(t, daxd.address);
  await midway.startTls(clientCertificate(keys));
  const client = await Transmission.negotiate(midway, '');
  const write = encodeRequest('structured', { command: Command.Write, payload: Buffer.alloc(MIB) });
  await client.stream.write(write.subarray(0, 500_000));
  client.stream.destroy();
  const open = async (): Promise<number | undefined> =>
    await eventually(
      () => metric(daxd.url, 'daxd_nbd_connections'),
      (now) => now === 0,
    );
  t.equal(await open(), 0, 'none is left');
  const descriptors = readdirSync(`/proc/${daxd.child.pid}/fd`).length;
  for (let tries = 0; tries < 20; tries++) {
    (await acknowledged()).stream.destroy();
    // One at a time, so that all of them fit the workers that there are: those keep descriptors.
    t.equal(await open(), 0);
  }
  const after = await eventually(
    async () => readdirSync(`/proc/${daxd.child.pid}/fd`).length,
    (now) => now <= descriptors + 2,
  );
  t.ok(after <= descriptors + 2, `nor a descriptor: ${descriptors} before, ${after} after`);
  t.ok(isRunning(daxd));
});

t.test('a client for which there is no descriptor left is gone', async (t) => {
  if (!requires(t, { commands: [...COMMANDS, 'prlimit'] })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys);
  const limit = (count: number): void => {
    const of = [`--pid=${daxd.child.pid}`, `--nofile=${count}:`];
    const { status, output } = runJudge('prlimit', of);
    t.equal(status, 0, output);
  };
  // As many as there are workers from the start: each of them has loaded its modules by then.
  for (let count = 1; count < 4; count++) {
    await (await NbdConnection.greet(t, daxd.address)).list();
  }
  const connection = await NbdConnection.greet(t, daxd.address);
  await connection.list();
  limit(8);
  await connection.stream.write(encodeOption(Option.StartTls));
  t.equal((await connection.replies(Option.StartTls)).at(-1)?.type, OptionReplyType.Ack);
  t.equal((await connection.closed()).length, 0, 'its connection ends');
  limit(1024);
  const next = await NbdConnection.greet(t, daxd.address);
  await next.startTls(clientCertificate(keys));
  t.equal((await next.list()).length, 1, 'the next one is served');
  t.ok(isRunning(daxd));
});

t.test('versions of TLS before 1.2 are refused', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys);
  const connection = await NbdConnection.greet(t, daxd.address);
  await connection.accepted(Option.StartTls);
  const socket = connect({
    ...clientCertificate(keys),
    socket: connection.stream.socket,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  });
  const refused = { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' };
  await t.rejects(once(socket, 'secureConnect'), refused);
  t.ok(isRunning(daxd));
});

t.test('off loopback TLS is required', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const host = outsideAddress();
  const image = join(t.testdir({}), 'pmem0.img');
  const addresses = ['0.0.0.0:0', '[::]:0', ...(host === undefined ? [] : [`${host}:0`])];
  for (const address of addresses) {
    const refused = startRefused(['--backing', image, '--size', '40M', '--nbd', address]);
    t.not(refused.exit, 0, `${address} without TLS`);
    t.match(refused.stderr, /TLS|tls/, 'it says what is missing');
  }

  const keys = certificates(t);
  // The wildcard takes loopback in: what listens off it asks for TLS on both.
  const daxd = await start(t, keys, '--nbd', `${host ?? '0.0.0.0'}:0`);
  const address = { host: host ?? '127.0.0.1', port: tcpPort(daxd) };
  t.match(daxd.stdout[0], / nbd\+unix:\/\/\/\S* nbds:\/\//, 'its URI says so');
  const connection = await NbdConnection.greet(t, address);
  const go = encodeInfoRequest('pmem0');
  for (const [option, payload] of [
    [Option.List, Buffer.alloc(0)],
    [Option.Info, go],
    [Option.Go, go],
    [Option.StructuredReply, Buffer.alloc(0)],
    [Option.ExtendedHeaders, Buffer.alloc(0)],
    [Option.SetMetaContext, Buffer.from('xx')],
    [77, Buffer.from('unknown')],
  ] as const) {
    const [type] = await connection.refused(option, payload);
    t.equal(type, OptionReplyType.ErrTlsReqd, `option ${option}`);
  }
  await connection.startTls(clientCertificate(keys));
  const client = await Transmission.negotiate(connection, 'pmem0');
  t.equal((await client.read(0, 1)).length, 1);

  const aborted = await NbdConnection.greet(t, address);
  await aborted.accepted(Option.Abort);
  t.equal((await aborted.closed()).length, 0);
  const old = await NbdConnection.greet(t, address);
  await old.stream.write(encodeOption(Option.ExportName, Buffer.from('pmem0')));
  t.equal((await old.closed()).length, 0);
});

t.test('keys that cannot be read are named at the start', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const image = join(t.testdir({}), 'pmem0.img');
  const socket = `unix:${join(keys, 'nbd.sock')}`;
  const refuse = (...args: string[]): string => {
    const common = ['--backing', image, '--size', '40M', '--nbd', socket];
    const { exit, stderr } = startRefused([...common, ...args]);
    t.not(exit, 0, args.join(' '));
    return stderr;
  };
  t.match(
    refuse('--nbd-tls-psk', join(keys, 'none.psk')),
    /^daxd: ENOENT: .*none\.psk is not there/m,
  );
  t.match(refuse('--nbd-tls-psk', join(keys, 'ca.info')), /ca\.info/);
  t.match(refuse('--nbd-tls-certificates', join(keys, 'nowhere')), /ENOENT: .*nowhere/);
  rmSync(join(keys, 'server-key.pem'));
  t.match(refuse('--nbd-tls-certificates', keys), /server-key\.pem/);
});
