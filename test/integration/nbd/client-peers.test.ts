/** The client that the tests judge daxd by, itself judged: by nbdkit and by qemu-nbd. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { isListening } from '../../support/is-listening.js';
import { NbdConnection } from '../../support/nbd/connection.js';
import type { NbdAddress } from '../../support/nbd/connection.js';
import type { HeaderStyle } from '../../support/nbd/message.js';
import {
  AllocationState,
  ClientFlag,
  Command,
  CommandFlag,
  Info,
  NbdErrno,
  Option,
  OptionReplyType,
  TransmissionFlag,
} from '../../support/nbd/protocol.js';
import { Transmission } from '../../support/nbd/transmission.js';
import { requires } from '../../support/requires.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { SeededRandom } from '../../support/seeded-random.js';

const SIZE_BYTES = 2 ** 20;

interface Peer {
  readonly name: string;
  readonly exportName: string;
  /** Its command line, for a socket and an image. */
  command(socket: string, image: string): [program: string, ...args: string[]];
}

const PEERS: readonly Peer[] = [
  {
    name: 'nbdkit',
    exportName: '',
    command: (socket, image) => ['nbdkit', '-f', '-U', socket, 'file', image],
  },
  {
    name: 'qemu-nbd',
    exportName: 'disk',
    command: (socket, image) => {
      const options = '-t -e 8 -x disk -f raw --discard=unmap -k';
      return ['qemu-nbd', ...options.split(' '), socket, image];
    },
  },
];

async function startPeer(t: Test, peer: Peer): Promise<NbdAddress> {
  const directory = scratchDirectory(t);
  const path = join(directory, 'socket');
  const image = join(directory, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, SIZE_BYTES);
  const [program, ...args] = peer.command(path, image);
  const child = spawn(program, args, { stdio: 'ignore' });
  const exited = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  while (!(await isListening(path))) await delay(10);
  return { path };
}

async function negotiates(t: Test, address: NbdAddress, name: string): Promise<void> {
  const connection = await NbdConnection.greet(t, address);
  t.match(await connection.list(), [{ name }]);
  t.match(await connection.refused(77), [OptionReplyType.ErrUnsup]);
  t.match(await connection.refused(Option.List, Buffer.from('x')), [OptionReplyType.ErrInvalid]);
  const info = await connection.info(name, [Info.BlockSize]);
  t.equal(info.size, SIZE_BYTES);
  if (name !== '') t.match(info, { blockSizes: [1, 4096] }, 'nbdkit says none');
  t.strictSame(await connection.go(name, [Info.BlockSize]), info);

  const old = await NbdConnection.greet(t, address, ClientFlag.FixedNewstyle);
  await old.stream.write(Buffer.from('49484156454f50540000000100000000', 'hex'));
  const answer = await old.stream.read(name === '' ? 134 : 0);
  if (name === '') t.equal(Number(answer.readBigUInt64BE(0)), SIZE_BYTES);
  else t.equal((await old.closed()).length, 0);

  const aborted = await NbdConnection.greet(t, address);
  t.equal((await aborted.accepted(Option.Abort)).length, 1);
  t.equal((await aborted.closed()).length, 0);
}

async function transmits(t: Test, address: NbdAddress, name: string, style: HeaderStyle) {
  const client = await Transmission.start(t, address, name, { style });
  const flags = client.info.flags ?? 0;
  t.equal((flags & TransmissionFlag.SendDf) !== 0, style !== 'simple');
  const bytes = new SeededRandom(1).bytes(10_000);
  await client.write(5000, bytes, CommandFlag.Fua);
  t.ok(bytes.equals(await client.read(5000, bytes.length)));
  await client.flush();
  const zeroes = { command: Command.WriteZeroes, offset: 8192, length: 4096 };
  t.equal(await client.errorOf(zeroes), 0);
  const expected = Buffer.concat([bytes.subarray(0, 3192), Buffer.alloc(4096)]);
  t.ok(expected.equals(await client.read(5000, expected.length)));
  t.equal(await client.errorOf({ command: 99 }), NbdErrno.EINVAL);
  const behind = { command: Command.Read, offset: SIZE_BYTES, length: 1 };
  t.equal(await client.errorOf(behind), NbdErrno.EINVAL);

  const cookies = new Set<bigint>();
  for (let page = 0; page < 16; page++) {
    cookies.add(await client.send({ command: Command.Read, offset: page * 4096, length: 4096 }));
  }
  while (cookies.size > 0) t.ok(cookies.delete((await client.receive()).cookie));
  t.equal((await client.disconnect()).length, 0);
}

async function seesHoles(t: Test, address: NbdAddress, name: string): Promise<void> {
  const contexts = ['base:allocation', 'nothing:at-all'];
  const client = await Transmission.start(t, address, name, { contexts });
  t.strictSame([...client.contexts.keys()], ['base:allocation']);
  const id = client.contexts.get('base:allocation') ?? -1;
  await client.write(2 ** 16, Buffer.alloc(2 ** 16, 7));
  const status = { command: Command.BlockStatus, offset: 0, length: SIZE_BYTES };
  const hole = AllocationState.Hole | AllocationState.Zero;
  const extents = (await client.call(status)).extents().get(id);
  t.strictSame(
    extents?.slice(-3).map(({ length, status }) => [length, status]),
    [
      [2 ** 16, hole],
      [2 ** 16, 0],
      [SIZE_BYTES - 2 ** 17, hole],
    ],
  );
  const one = await client.call({ ...status, flags: CommandFlag.ReqOne });
  t.strictSame(one.extents().get(id), [{ length: 2 ** 16, status: hole }]);
  t.equal((await client.read(0, 2 ** 18)).indexOf(7), 2 ** 16);
}

for (const peer of PEERS) {
  t.test(peer.name, async (t) => {
    if (!requires(t, { commands: [peer.name] })) return;
    const address = await startPeer(t, peer);
    await t.test('negotiates', async (t) => negotiates(t, address, peer.exportName));
    for (const style of ['simple', 'structured'] as const) {
      await t.test(`${style} replies`, async (t) => transmits(t, address, peer.exportName, style));
    }
  });
  t.test(`${peer.name}: holes`, async (t) => {
    if (!requires(t, { commands: [peer.name] })) return;
    await seesHoles(t, await startPeer(t, peer), peer.exportName);
  });
}
