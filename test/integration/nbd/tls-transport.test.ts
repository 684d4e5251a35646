import { EventEmitter, once } from 'node:events';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';

import t, { type Test } from 'tap';

import { MIB } from '../../../src/lib/units.js';
import { NbdListener } from '../../../src/nbd/nbd-listener.js';
import { TlsTransport } from '../../../src/nbd/tls-transport.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const KEY = Buffer.alloc(32, 7);

/** Both ends of a connection under TLS; the server's would hold 64 MiB before it waits. */
async function setUp(t: Test): Promise<{ transport: TlsTransport; client: TLSSocket }> {
  const path = join(scratchDirectory(t), 'sock');
  const connections = new EventEmitter();
  const accepted = once(connections, 'accepted');
  const listener = await NbdListener.open({ kind: 'unix', path }, 'offered', (fd) => {
    connections.emit('accepted', fd);
  });
  t.teardown(() => listener.close());
  const client = connect({
    socket: createConnection({ path }),
    pskCallback: () => ({ psk: KEY, identity: 'alice' }),
    checkServerIdentity: () => undefined,
    ciphers: 'PSK-AES256-GCM-SHA384',
    maxVersion: 'TLSv1.2',
  });
  client.on('error', () => {});
  t.teardown(() => client.destroy());
  const keys = { x509: undefined, psk: new Map([['alice', KEY]]) };
  const secure = once(client, 'secureConnect');
  const [fd]: number[] = await accepted;
  const transport = await TlsTransport.open(fd ?? -1, keys, 64 * MIB);
  await secure;
  return { transport, client };
}

t.test('close: a client that breaks off with replies unread is gone, and no error', async (t) => {
  const { transport, client } = await setUp(t);
  // More than the kernel takes.
  await transport.write(Buffer.alloc(16 * MIB));
  const closed = transport.close();
  client.destroy();
  await t.resolves(closed);
  await transport.close();
});

t.test('close: what was sent arrives first', async (t) => {
  const { transport, client } = await setUp(t);
  await transport.write(Buffer.alloc(16 * MIB));
  const closed = transport.close();
  let received = 0;
  for await (const chunk of client) received += (chunk as Buffer).length;
  t.equal(received, 16 * MIB);
  await closed;
});
