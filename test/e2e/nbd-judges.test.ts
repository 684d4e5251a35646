/** The NBD clients that people use, against exports of daxd. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { requires } from '../support/requires.js';
import { testSeed } from '../support/random-test.js';
import { SeededRandom } from '../support/seeded-random.js';
import { partitionOffset } from './daxd.js';
import { sameBytes } from './images.js';
import { mustRun } from './must-run.js';
import { addPartition, leaseRaw, startNbd, tcpPort } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const SIZE_BYTES = 64 * MIB;
const PART_BYTES = 24 * MIB;

const random = new SeededRandom(testSeed(t));

async function start(t: Test, ...args: string[]): Promise<NbdDaxd> {
  return startNbd(t, { args: ['--size', '64M', ...args] });
}

/** A file with stretches of data, zeros and holes. */
function source(directory: string, length: number): string {
  const path = join(directory, 'source.bin');
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += MIB) {
    if (random.below(3) === 0) continue;
    random.bytes(1 + random.below(MIB)).copy(bytes, at + random.below(MIB / 2));
  }
  writeFileSync(path, bytes.subarray(0, length));
  return path;
}

/** A partition as qemu finds it in the backing. */
async function media({ url, image }: NbdDaxd, name: string): Promise<string> {
  const [offset, size] = await partitionOffset(url, name);
  return `driver=raw,offset=${offset},size=${size},file.driver=file,file.filename=${image}`;
}

t.test('nbdinfo: what is exported, and what it can', async (t) => {
  if (!requires(t, { commands: ['nbdinfo'] })) return;
  const daxd = await start(t);
  await addPartition(daxd, 'alpha', PART_BYTES);
  const list = JSON.parse(mustRun(t, 'nbdinfo', '--list', '--json', daxd.uri('')));
  t.match(list, {
    protocol: 'newstyle-fixed',
    TLS: false,
    structured: true,
    exports: [
      {
        'export-name': 'pmem0',
        description: `whole disk, ${SIZE_BYTES} bytes`,
        'export-size': SIZE_BYTES,
      },
      {
        'export-name': 'pmem0p1',
        description: `label "alpha", ${PART_BYTES} bytes`,
        'export-size': PART_BYTES,
      },
    ],
  });
  const { exports } = JSON.parse(mustRun(t, 'nbdinfo', '--json', daxd.uri('pmem0p1')));
  t.match(exports[0], {
    'export-name': 'pmem0p1',
    contexts: ['base:allocation', 'daxd:lease'],
    is_rotational: false,
    is_read_only: false,
    can_cache: true,
    can_df: true,
    can_fast_zero: true,
    can_flush: true,
    can_fua: true,
    can_multi_conn: true,
    can_trim: true,
    can_zero: true,
    block_size_minimum: 1,
    block_size_preferred: 4096,
    block_size_maximum: 2 ** 25,
  });
  t.equal(mustRun(t, 'nbdinfo', '--size', daxd.uri('')), `${SIZE_BYTES}\n`);
  const unknown = runJudge('nbdinfo', [daxd.uri('pmem0p9')]);
  t.not(unknown.status, 0);
  t.match(unknown.output, /pmem0p9|no such|not found|unknown/i);
});

t.test('nbdinfo and qemu-nbd: the list of very many exports', async (t) => {
  if (!requires(t, { commands: ['nbdinfo', 'qemu-nbd'] })) return;
  const daxd = await startNbd(t, { args: ['--size', '128M'] });
  for (let made = 0; made < 40; made++) await addPartition(daxd, `part ${made}`, MIB);
  const list = JSON.parse(mustRun(t, 'nbdinfo', '--list', '--json', daxd.uri('')));
  t.equal(list.exports.length, 41);
  const text = mustRun(t, 'qemu-nbd', '--list', `--socket=${daxd.socket}`);
  t.match(text, /exports available: 41\n/);
  t.match(text, /export: 'pmem0p40'\n/);
});

t.test('nbdinfo: the map of a sparse backing, and that of the leases', async (t) => {
  if (!requires(t, { commands: ['nbdinfo', 'nbdcopy'] })) return;
  // On a disk: a filesystem in memory fills holes that are read through a map.
  const image = join(t.testdir({}), 'pmem0.img');
  const daxd = await startNbd(t, { image, args: ['--size', '64M', '--sparse'] });
  const name = await addPartition(daxd, 'alpha', PART_BYTES);
  const map = (...args: string[]): object[] =>
    JSON.parse(mustRun(t, 'nbdinfo', ...args, '--json', daxd.uri(name)));
  const hole = { type: 3, description: 'hole,zero' };
  t.match(map('--map'), [{ offset: 0, length: PART_BYTES, ...hole }]);
  const megabyte = join(daxd.directory, 'megabyte');
  writeFileSync(megabyte, random.bytes(MIB));
  mustRun(t, 'nbdcopy', megabyte, daxd.uri(name));
  t.match(map('--map'), [
    { offset: 0, length: MIB, type: 0, description: 'data' },
    { offset: MIB, length: PART_BYTES - MIB, ...hole },
  ]);
  t.match(map('--map=daxd:lease'), [{ offset: 0, length: PART_BYTES, type: 0 }]);
  await leaseRaw(daxd, name, [MIB, 16_384]);
  t.match(map('--map=daxd:lease'), [
    { offset: 0, length: MIB, type: 0 },
    { offset: MIB, length: 16_384, type: 1 },
    { offset: MIB + 16_384, length: PART_BYTES - MIB - 16_384, type: 0 },
  ]);
});

t.test('nbdcopy: in and out with four connections, the same bytes', async (t) => {
  if (!requires(t, { commands: ['nbdcopy'] })) return;
  for (const args of [[], ['--sparse']]) {
    const daxd = await start(t, ...args);
    const from = source(daxd.directory, SIZE_BYTES);
    const to = join(daxd.directory, 'copy.bin');
    mustRun(t, 'nbdcopy', '--connections=4', '--flush', from, daxd.uri('pmem0'));
    t.ok(sameBytes(from, daxd.image), 'the backing holds them');
    mustRun(t, 'nbdcopy', '--connections=4', daxd.uri('pmem0'), to);
    t.ok(sameBytes(from, to));
    mustRun(t, 'nbdcopy', '--connections=4', '--request-size=4096', daxd.uri('pmem0'), to);
    t.ok(sameBytes(from, to), 'in small requests');
    t.equal(await daxd.stop(), 0);
    t.ok(sameBytes(from, daxd.image));
  }
});

t.test('qemu-img: convert to and from qcow2, and compare with the media', async (t) => {
  if (!requires(t, { commands: ['qemu-img'] })) return;
  // On a disk: a filesystem in memory fills holes that are read through a map.
  const image = join(t.testdir({}), 'pmem0.img');
  const daxd = await startNbd(t, { image, args: ['--size', '64M', '--sparse'] });
  const name = await addPartition(daxd, 'alpha', PART_BYTES);
  const from = source(daxd.directory, PART_BYTES);
  const [qcow2, back] = ['a.qcow2', 'b.qcow2'].map((file) => join(daxd.directory, file));
  mustRun(t, 'qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', from, `${qcow2}`);
  const uri = daxd.uri(name);
  mustRun(t, 'qemu-img', 'convert', '-n', '-f', 'qcow2', '-O', 'raw', `${qcow2}`, uri);
  const compared = /identical/;
  t.match(mustRun(t, 'qemu-img', 'compare', '-f', 'raw', '-F', 'raw', uri, from), compared);
  const options = ['compare', '--image-opts', `driver=raw,file.driver=nbd,file.export=${name}`];
  const nbd = `${options.pop()},file.server.type=unix,file.server.path=${daxd.socket}`;
  t.match(mustRun(t, 'qemu-img', ...options, nbd, await media(daxd, name)), compared);
  mustRun(t, 'qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', uri, `${back}`);
  t.match(mustRun(t, 'qemu-img', 'compare', `${qcow2}`, `${back}`), compared);
  const zeros = /"zero": true/;
  t.match(mustRun(t, 'qemu-img', 'map', '--output=json', '-f', 'raw', uri), zeros);
  mustRun(t, 'qemu-img', 'bench', '-c', '200', '-d', '16', '-w', '-f', 'raw', uri);
});

t.test('qemu-io: what it writes, zeroes and discards', async (t) => {
  if (!requires(t, { commands: ['qemu-io'] })) return;
  for (const args of [[], ['--sparse']]) {
    const daxd = await start(t, ...args);
    const commands = [
      'write -P 0x5a 0 1M',
      'write -f -P 0xa5 512 512',
      'write -z 64k 64k',
      'write -z -u 256k 64k',
      'discard 512k 64k',
      'writev -P 7 700k 4k 8k 1k',
      'aio_write -P 9 800k 32k',
      'aio_flush',
      'flush',
      'read -P 0x5a 0 512',
      'read -P 0xa5 512 512',
      'read -P 0x5a 1k 63k',
      'read -P 0 64k 64k',
      'read -P 0 256k 64k',
      'read -P 0x5a 320k 192k',
      'read -P 7 700k 13k',
      'read -P 9 800k 32k',
      `read ${SIZE_BYTES - 4096} 4096`,
      'map',
    ];
    const flags = commands.flatMap((command) => ['-c', command]);
    const output = mustRun(t, 'qemu-io', '-f', 'raw', '-d', 'unmap', ...flags, daxd.uri(''));
    t.notMatch(output, /failed|verification/i);
    const bytes = readFileSync(daxd.image);
    t.equal(bytes[600], 0xa5);
    t.equal(statSync(daxd.image).size, SIZE_BYTES);
  }
});

t.test('nbd-client: the list of exports', async (t) => {
  if (!requires(t, { commands: ['nbd-client'] })) return;
  const daxd = await start(t, '--nbd', '127.0.0.1:0');
  await addPartition(daxd, 'alpha', PART_BYTES);
  const output = mustRun(t, 'nbd-client', '-l', '127.0.0.1', String(tcpPort(daxd)));
  t.match(output, /^pmem0: whole disk/m);
  t.match(output, /^pmem0p1: label "alpha"/m);
});
