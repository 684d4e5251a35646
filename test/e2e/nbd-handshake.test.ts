/** The NBD handshake below its options: greetings, framing, limits, listeners. */
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { encodeInfoRequest, encodeOption } from '../support/nbd/option.js';
import { encodeRequest } from '../support/nbd/message.js';
import { Command, Option, OptionReplyType } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { curl, metric, runVerb, startDaxd, startRefused } from './daxd.js';
import { clientCounts, eventually, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const GREETING = Buffer.from('4e42444d4147494349484156454f50540003', 'hex');

async function startTiny(t: Test, ...args: string[]): Promise<NbdDaxd> {
  return startNbd(t, { args: ['--size', '16M', ...args] });
}

async function outcomes(daxd: NbdDaxd, outcome: string): Promise<number | undefined> {
  return metric(daxd.url, `daxd_nbd_connections_total{outcome="${outcome}"}`);
}

t.test('framing', async (t) => {
  const daxd = await startTiny(t);
  const { address } = daxd;

  await t.test('the greeting comes first, byte for byte', async (t) => {
    const connection = await NbdConnection.open(t, address);
    t.ok(GREETING.equals(await connection.stream.read(18)));
  });

  await t.test('unknown client flags close the connection', async (t) => {
    for (const flags of [4, 7, 2 ** 31, 2 ** 32 - 1]) {
      const connection = await NbdConnection.greet(t, address, flags);
      t.equal((await connection.closed()).length, 0, `flags ${flags}`);
    }
  });

  await t.test('a wrong magic of an option closes the connection', async (t) => {
    for (const magic of ['NBDMAGIC', 'IHAVEOPU', '\0\0\0\0\0\0\0\0']) {
      const connection = await NbdConnection.greet(t, address);
      const option = encodeOption(Option.List);
      option.write(magic, 'latin1');
      await connection.stream.write(option);
      t.equal((await connection.closed()).length, 0, magic);
    }
  });

  await t.test('every message may come byte by byte', async (t) => {
    const connection = await NbdConnection.open(t, address);
    await connection.readGreeting();
    const messages = [
      Buffer.from([0, 0, 0, 3]),
      encodeOption(Option.StructuredReply),
      encodeOption(Option.Go, encodeInfoRequest('pmem0', [3])),
      encodeRequest('structured', { command: Command.Write, payload: Buffer.from('abc') }),
      encodeRequest('structured', { command: Command.Read, length: 3, cookie: 2n }),
    ];
    for (const byte of Buffer.concat(messages)) {
      await connection.stream.write(Buffer.of(byte));
      await delay(1);
    }
    t.equal((await connection.replies(Option.StructuredReply)).length, 1);
    t.equal((await connection.replies(Option.Go)).at(-1)?.type, OptionReplyType.Ack);
    connection.stream.end();
    t.ok((await connection.closed()).includes('abc'));
  });

  await t.test('all messages may come at once', async (t) => {
    const connection = await NbdConnection.open(t, address);
    const messages = [
      Buffer.from([0, 0, 0, 3]),
      encodeOption(Option.List),
      encodeOption(77, Buffer.alloc(500)),
      encodeOption(Option.Go, encodeInfoRequest('pmem0')),
      encodeRequest('simple', { command: Command.Write, payload: Buffer.from('xyz') }),
      encodeRequest('simple', { command: Command.Read, length: 3, cookie: 2n }),
      encodeRequest('simple', { command: Command.Disc }),
    ];
    await connection.stream.write(Buffer.concat(messages));
    await connection.readGreeting();
    for (const option of [Option.List, 77, Option.Go]) await connection.replies(option);
    const replies = await connection.closed();
    t.equal(replies.length, 16 + 16 + 3);
    t.ok(replies.includes('xyz'));
  });

  await t.test('a client that leaves in the middle leaves nothing behind', async (t) => {
    const go = encodeOption(Option.Go, encodeInfoRequest('pmem0'));
    const all = Buffer.concat([Buffer.from([0, 0, 0, 3]), encodeOption(Option.List), go]);
    for (let length = 0; length <= all.length; length += 3) {
      const connection = await NbdConnection.open(t, address);
      await connection.stream.write(all.subarray(0, length));
      if (length % 2 === 0) connection.stream.destroy();
      else connection.stream.end();
      if (length % 2 === 1) await connection.closed();
    }
    const counts = await eventually(
      () => metric(daxd.url, 'daxd_nbd_connections'),
      (count) => count === 0,
    );
    t.equal(counts, 0);
    t.strictSame(await clientCounts(daxd), { pmem0: 0 });
  });
});

t.test('the limit on options: so many are answered, one more closes', async (t) => {
  const { address } = await startTiny(t, '--nbd-options', '5');
  const patient = await NbdConnection.greet(t, address);
  for (let count = 0; count < 5; count++) await patient.option(99);
  // It may have been closed by then.
  await patient.stream.write(encodeOption(99)).catch(() => undefined);
  t.equal((await patient.closed()).length, 0);

  const curious = await NbdConnection.greet(t, address);
  for (let count = 0; count < 9; count++) await curious.list();
  await curious.stream.write(encodeOption(Option.List)).catch(() => undefined);
  t.equal((await curious.closed()).length, 0, 'the first LIST allows four more for each export');

  const quick = await NbdConnection.greet(t, address);
  for (let count = 0; count < 4; count++) await quick.option(99);
  t.equal((await quick.go('')).size, 16 * MIB, 'the fifth may be GO');
});

t.test('the limit on the size of an option', async (t) => {
  const { address } = await startTiny(t, '--nbd-option-size', '8K');
  const connection = await NbdConnection.greet(t, address);
  const [type] = await connection.refused(99, Buffer.alloc(8192));
  t.equal(type, OptionReplyType.ErrUnsup);
  // The header alone: who waits for the payload first would wait for 4 GiB.
  for (const length of [8193, 2 ** 31, 2 ** 32 - 1]) {
    const greedy = await NbdConnection.greet(t, address);
    const header = encodeOption(99);
    header.writeUInt32BE(length, 12);
    await greedy.stream.write(header);
    t.equal((await greedy.closed()).length, 0, `${length} bytes`);
  }
});

t.test('the time for the handshake', async (t) => {
  const daxd = await startTiny(t, '--nbd-handshake-timeout', '1500ms');
  const served = await Transmission.start(t, daxd.address, '');
  const silent = await NbdConnection.open(t, daxd.address);
  const midway = await NbdConnection.greet(t, daxd.address);
  await midway.stream.write(encodeOption(Option.List).subarray(0, 9));
  t.ok(GREETING.equals(await silent.closed()), 'who says nothing is closed');
  t.equal((await midway.closed()).length, 0, 'and who stops');

  const busy = await NbdConnection.greet(t, daxd.address);
  let listed = 0;
  // Each option is answered; the sum of them takes too long.
  const dripping = (async () => {
    for (; listed < 120; listed++) {
      await busy.list();
      await delay(50);
    }
  })();
  await t.rejects(dripping, Error, 'and who never comes to the end');
  t.ok(listed > 1, `${listed} options were answered`);
  const timedOut = await eventually(
    () => outcomes(daxd, 'timed_out'),
    (count) => count === 3,
  );
  t.equal(timedOut, 3);
  t.equal((await served.read(0, 1)).length, 1, 'a connection that made it has all the time');
});

t.test('the limit on connections', async (t) => {
  const daxd = await startTiny(t, '--nbd-connections', '2');
  const first = await Transmission.start(t, daxd.address, '');
  await NbdConnection.greet(t, daxd.address);
  t.equal(await metric(daxd.url, 'daxd_nbd_connections'), 2, 'one that negotiates counts');
  const third = await NbdConnection.open(t, daxd.address);
  t.equal((await third.closed()).length, 0, 'closed without a greeting');
  const refused = await eventually(
    () => outcomes(daxd, 'refused'),
    (count) => count === 1,
  );
  t.equal(refused, 1);
  t.equal((await first.read(0, 1)).length, 1);

  await first.disconnect();
  await eventually(
    () => metric(daxd.url, 'daxd_nbd_connections'),
    (count) => count === 1,
  );
  const next = await Transmission.start(t, daxd.address, '');
  t.equal((await next.read(0, 1)).length, 1, 'who comes after one left is served');
});

t.test(
  'a socket whose name has what URIs give a meaning: its URI is one that clients take',
  async (t) => {
    if (!requires(t, { commands: ['nbdinfo'] })) return;
    const directory = join(scratchDirectory(t), 'a?b#c&d+e%41 é');
    mkdirSync(directory);
    const { stdout, url } = await startNbd(t, { directory, args: ['--size', '16M'] });
    const uri = / (nbd\+unix:\S+)/.exec(stdout[0] ?? '')?.[1] ?? '';
    t.match(uri, /\/a%3Fb%23c%26d%2Be%2541%20%C3%A9\/nbd\.sock$/);
    t.strictSame((await curl(`${url}/v1/nbd`)).json.listen, [uri]);
    const { status, output } = runJudge('nbdinfo', ['--size', uri]);
    t.match([status, output], [0, `${16 * MIB}`]);
  },
);

t.test('listeners: sockets and ports, all of them in the ready line', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '16M', '--nbd', '127.0.0.1:0'] });
  const line = daxd.stdout[0] ?? '';
  const [, http, unix, tcp] = /^daxd ready pmem0 (\S+) (\S+) (\S+)$/.exec(line) ?? [];
  t.match(http, /^http:/);
  t.equal(unix, `nbd+unix:///?socket=${daxd.socket}`);
  const port = Number(/^nbd:\/\/127\.0\.0\.1:(\d+)$/.exec(tcp ?? '')?.[1]);
  t.equal(statSync(daxd.socket).mode & 0o777, 0o660);
  const overTcp = await Transmission.start(t, { host: '127.0.0.1', port }, 'pmem0');
  const overUnix = await Transmission.start(t, daxd.address, 'pmem0');
  await overTcp.write(5, Buffer.from('seen by both'));
  t.equal((await overUnix.read(5, 12)).toString(), 'seen by both');

  const nbd = (await curl(`${daxd.url}/v1/nbd`)).json;
  t.strictSame(nbd, {
    listen: [unix, tcp],
    exports: [
      {
        name: 'pmem0',
        description: `whole disk, ${16 * MIB} bytes`,
        size: 16 * MIB,
        read_only: false,
        clients: 2,
      },
    ],
  });
  const { exit, stdout } = runVerb(daxd.url, ['nbd', 'list', '--json']);
  t.equal(exit, 0);
  const uris = [`nbd+unix:///pmem0?socket=${daxd.socket}`, `${tcp}/pmem0`];
  t.strictSame(JSON.parse(stdout), [{ ...nbd.exports[0], uris }]);
  t.match(runVerb(daxd.url, ['nbd', 'list']).stdout, /pmem0/);
});

t.test(
  'listeners: a socket that a killed daemon left is taken over, a live one is not',
  async (t) => {
    const daxd = await startTiny(t);
    const { directory } = daxd;
    const image = join(directory, 'other.img');
    const refused = startRefused([
      '--backing',
      image,
      '--size',
      '16M',
      '--nbd',
      `unix:${daxd.socket}`,
    ]);
    t.equal(refused.exit, 1);
    t.match(refused.stderr, /EBUSY: .*nbd\.sock/);
    t.equal(await daxd.stop('SIGKILL'), null);
    const next = await startNbd(t, { directory });
    const client = await Transmission.start(t, next.address, '');
    t.equal((await client.read(0, 1)).length, 1);
    await client.disconnect();
    t.equal(await next.stop(), 0);
  },
);

t.test('listeners: what is no address is refused by name', async (t) => {
  const image = join(t.testdir({}), 'x.img');
  for (const address of ['unix:', '127.0.0.1', '127.0.0.1:70000', 'nbd://127.0.0.1:1', '']) {
    const { exit, stderr } = startRefused(['--backing', image, '--size', '16M', '--nbd', address]);
    t.ok(exit === 1 || exit === 2, `${address}: exit ${exit}`);
    t.match(stderr, /--nbd/, 'the option is named');
  }
  for (const [flag, value] of [
    ['--nbd-connections', '0'],
    ['--nbd-options', 'many'],
    ['--nbd-option-size', '-1'],
    ['--nbd-handshake-timeout', 'soon'],
    ['--nbd-in-flight', '0'],
  ] as const) {
    const nbd = ['--backing', image, '--size', '16M', '--nbd', 'unix:/tmp/never.sock'];
    const { exit, stderr } = startRefused([...nbd, flag, value]);
    t.ok(exit === 1 || exit === 2, `${flag} ${value}: exit ${exit}`);
    t.match(stderr, new RegExp(flag));
  }
});

t.test('without --nbd nobody listens', async (t) => {
  const image = join(t.testdir({}), 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', image, '--size', '16M']);
  t.match(daxd.stdout[0], /^daxd ready pmem0 http:\S+$/);
  t.strictSame((await curl(`${daxd.url}/v1/nbd`)).json, { listen: [], exports: [] });
  t.equal(await daxd.stop(), 0);
});
