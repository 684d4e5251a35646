/** Reads under TLS that are long, or meet a bad page. */
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { clientCertificate, makeCertificates } from '../support/nbd/certificates.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { encodeRequest } from '../support/nbd/message.js';
import type { HeaderStyle } from '../support/nbd/message.js';
import { ChunkType, Command, NbdErrno } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { anonymousBytes, isRunning, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const COMMANDS = ['certtool'];

function certificates(t: Test): string {
  return makeCertificates(join(scratchDirectory(t), 'keys'));
}

async function start(t: Test, keys: string, ...args: string[]): Promise<NbdDaxd> {
  return startNbd(t, { args: ['--size', '40M', '--nbd-tls-certificates', keys, ...args] });
}

/** A client under TLS that has the whole disk open. */
async function secured(
  t: Test,
  { address }: NbdDaxd,
  keys: string,
  style: HeaderStyle,
): Promise<Transmission> {
  const connection = await NbdConnection.greet(t, address);
  await connection.startTls(clientCertificate(keys));
  return Transmission.negotiate(connection, '', { style });
}

t.test('what a client under TLS leaves unread takes no more memory than it may', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys, '--nbd-in-flight', '64K');
  const clients: Transmission[] = [];
  for (let i = 0; i < 4; i++) clients.push(await secured(t, daxd, keys, 'structured'));
  for (const client of clients) await client.read(0, 4 * MIB);
  const before = anonymousBytes(daxd);
  const length = 32 * MIB;
  for (const { stream, style } of clients) {
    stream.socket.pause();
    await stream.write(encodeRequest(style, { command: Command.Read, length, cookie: 99n }));
  }
  await delay(1500);
  const grown = anonymousBytes(daxd) - before;
  t.ok(grown < 64 * MIB, `four reads of 32 MiB: ${Math.round(grown / MIB)} MiB`);
  const [client] = clients;
  client?.expect({ command: Command.Read, length, cookie: 99n });
  client?.stream.socket.resume();
  t.equal((await client?.receive())?.data(0, length).length, length, 'and then it comes whole');
});

t.test('a bad page in the middle of a read under TLS', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const keys = certificates(t);
  const daxd = await start(t, keys);
  const wide = { command: Command.Read, offset: 16 * MIB, length: 8 * MIB };
  truncateSync(daxd.image, 20 * MIB);
  for (const style of ['structured', 'extended'] as const) {
    const client = await secured(t, daxd, keys, style);
    const reply = await client.call(wide);
    t.equal(reply.error, NbdErrno.EIO);
    t.strictSame(
      reply.chunks.map(({ type }) => type),
      [ChunkType.OffsetData, ChunkType.ErrorOffset],
      'the rest of the data is there, whatever it holds, and then the error',
    );
    t.equal(await client.errorOf({ ...wide, offset: 24 * MIB }), NbdErrno.EIO);
    t.equal((await client.read(16 * MIB, MIB)).length, MIB, 'and it goes on');
  }
  const simple = await secured(t, daxd, keys, 'simple');
  await simple.send(wide);
  const bytes = await simple.stream.readToEnd();
  t.ok(bytes.length < wide.length, 'in a simple reply nothing could say so');
  t.ok(isRunning(daxd));
});
