import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

import t from 'tap';

import { checkAddresses, listenOn } from '../../../src/lib/listen.js';
import type { ChosenAddress } from '../../../src/lib/listen.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';

function unix(path: string): ChosenAddress {
  return { address: { kind: 'unix', path }, option: '--listen' };
}

function tcp(host: string, port: number): ChosenAddress {
  return { address: { kind: 'tcp', host, port }, option: '--nbd' };
}

t.test('checkAddresses: what can be had is free again', async (t) => {
  const path = join(temporaryDirectory(t), 'socket');
  await checkAddresses([unix(path), tcp('127.0.0.1', 0), tcp('127.0.0.1', 0)]);
  t.notOk(existsSync(path));
  await checkAddresses([unix(path)]);
});

t.test('checkAddresses: one address for two, and nothing is left', async (t) => {
  const path = join(temporaryDirectory(t), 'socket');
  await t.rejects(checkAddresses([unix(path), unix(path)]), {
    code: 'EBUSY',
    message: `somebody listens on ${path}: stop it, or give another --listen`,
  });
  t.notOk(existsSync(path));
});

t.test('listenOn: says what is in the way', async (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  await t.rejects(checkAddresses([unix(file)]), { code: 'EEXIST' });
  await t.rejects(checkAddresses([unix(join(directory, 'none', 'socket'))]), {
    code: 'ENOENT',
    message: `create ${join(directory, 'none')} first`,
  });
  // An address of the documentation (RFC 5737), which no machine has.
  await t.rejects(checkAddresses([tcp('192.0.2.1', 0)]), {
    code: 'EINVAL',
    message: 'cannot listen on 192.0.2.1:0: EADDRNOTAVAIL: give another --nbd',
  });

  const server = createServer();
  t.teardown(() => server.close());
  const taken = await listenOn(server, { kind: 'tcp', host: '127.0.0.1', port: 0 }, '--listen');
  t.equal(taken.kind, 'tcp');
  if (taken.kind !== 'tcp') return;
  await t.rejects(checkAddresses([tcp('127.0.0.1', taken.port)]), {
    code: 'EBUSY',
    message: `cannot listen on 127.0.0.1:${taken.port}: EADDRINUSE: stop who listens there, or give another --nbd`,
  });
});

t.test('listenOn: a Unix socket has its mode from the first moment on', async (t) => {
  const path = join(temporaryDirectory(t), 'socket');
  const server = createServer();
  t.teardown(() => server.close());
  const modes: number[] = [];
  server.once('listening', () => modes.push(statSync(path).mode & 0o777));
  const mask = process.umask(0);
  t.teardown(() => process.umask(mask));
  await listenOn(server, { kind: 'unix', path }, '--listen');
  t.strictSame(modes, [0o660]);
  t.equal(process.umask(), 0, 'other files have theirs');
});
