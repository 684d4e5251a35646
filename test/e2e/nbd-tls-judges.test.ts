/** NBD over TLS, with certificates and with shared keys, by the clients that people use. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { makeCertificates, makePsk } from '../support/nbd/certificates.js';
import { requires } from '../support/requires.js';
import { testSeed } from '../support/random-test.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { SeededRandom } from '../support/seeded-random.js';
import { sameBytes } from './images.js';
import { mustRun } from './must-run.js';
import { isRunning, startNbd, tcpPort } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const SIZE_BYTES = 32 * MIB;
const COMMANDS = ['certtool', 'psktool', 'nbdinfo', 'nbdcopy', 'qemu-img'];

interface TlsDaxd {
  readonly daxd: NbdDaxd;
  readonly keys: string;
  readonly port: number;
}

async function start(t: Test, flag: 'certificates' | 'psk'): Promise<TlsDaxd> {
  const keys = join(scratchDirectory(t), 'keys');
  const value = flag === 'psk' ? makePsk(keys, 'alice') : makeCertificates(keys);
  const args = ['--size', '32M', '--nbd', '127.0.0.1:0', `--nbd-tls-${flag}`, value];
  const daxd = await startNbd(t, { args });
  return { daxd, keys, port: tcpPort(daxd) };
}

/** Through a URI of libnbd's: information, and 32 MiB in and out. */
function copies(t: Test, { directory, image }: NbdDaxd, uri: string): void {
  const info = JSON.parse(mustRun(t, 'nbdinfo', '--json', uri));
  t.match(info, { TLS: true, structured: true, exports: [{ 'export-size': SIZE_BYTES }] });
  t.match(mustRun(t, 'nbdinfo', '--map', uri), /data/);
  const [from, to] = [join(directory, 'from'), join(directory, 'to')];
  writeFileSync(from, new SeededRandom(testSeed(t)).bytes(SIZE_BYTES));
  mustRun(t, 'nbdcopy', '--connections=4', '--flush', from, uri);
  t.ok(sameBytes(from, image), 'the backing holds what was sent');
  mustRun(t, 'nbdcopy', '--connections=4', uri, to);
  t.ok(sameBytes(from, to));
}

function compares(t: Test, { image }: NbdDaxd, credentials: string, server: string): void {
  const args = ['compare', '--object', `${credentials},id=tls0,endpoint=client`, '--image-opts'];
  const nbd = `driver=raw,file.driver=nbd,${server},file.tls-creds=tls0,file.export=pmem0`;
  const media = `driver=raw,file.driver=file,file.filename=${image}`;
  t.match(mustRun(t, 'qemu-img', ...args, nbd, media), /identical/);
}

t.test('certificates', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { daxd, keys, port } = await start(t, 'certificates');
  const credentials = `tls-certificates=${keys}`;
  copies(t, daxd, `nbds://localhost:${port}/?${credentials}`);
  copies(t, daxd, `nbds+unix:///pmem0?socket=${daxd.socket}&${credentials}`);
  const server = `file.server.type=inet,file.server.host=localhost,file.server.port=${port}`;
  compares(t, daxd, `tls-creds-x509,dir=${keys}`, server);
  mustRun(t, 'nbdinfo', daxd.uri(''));

  const others = makeCertificates(join(scratchDirectory(t), 'keys'));
  const stranger = join(scratchDirectory(t), 'keys');
  makeCertificates(stranger);
  // A client that trusts the server, with a certificate that the server does not trust.
  mustRun(t, 'cp', join(keys, 'ca-cert.pem'), stranger);
  for (const directory of [others, stranger]) {
    const uri = `nbds://localhost:${port}/?tls-certificates=${directory}`;
    t.not(runJudge('nbdinfo', [uri]).status, 0, 'another CA is refused');
  }
  mustRun(t, 'rm', join(stranger, 'client-cert.pem'), join(stranger, 'client-key.pem'));
  const bare = `nbds://localhost:${port}/?tls-certificates=${stranger}`;
  t.not(runJudge('nbdinfo', [bare]).status, 0, 'no certificate at all is refused');
  t.ok(isRunning(daxd));
  mustRun(t, 'nbdinfo', `nbds://localhost:${port}/?${credentials}`);
});

t.test('shared keys', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const { daxd, keys, port } = await start(t, 'psk');
  const file = `tls-psk-file=${join(keys, 'keys.psk')}`;
  copies(t, daxd, `nbds://alice@localhost:${port}/?${file}`);
  copies(t, daxd, `nbds+unix://alice@/pmem0?socket=${daxd.socket}&${file}`);
  const server = `file.server.type=unix,file.server.path=${daxd.socket}`;
  compares(t, daxd, `tls-creds-psk,dir=${keys},username=alice`, server);

  const others = makePsk(join(scratchDirectory(t), 'keys'), 'alice');
  const wrong = `nbds://alice@localhost:${port}/?tls-psk-file=${others}`;
  t.not(runJudge('nbdinfo', [wrong]).status, 0, 'another key is refused');
  const stranger = makePsk(join(scratchDirectory(t), 'keys'), 'mallory');
  const unknown = `nbds://mallory@localhost:${port}/?tls-psk-file=${stranger}`;
  t.not(runJudge('nbdinfo', [unknown]).status, 0, 'another user is refused');
  t.ok(isRunning(daxd));
  mustRun(t, 'nbdinfo', `nbds://alice@localhost:${port}/?${file}`);
});
