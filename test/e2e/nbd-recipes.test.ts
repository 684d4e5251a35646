/** The commands of docs/guides/nbd.md, run as they stand there; only places and ports are others. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { SeededRandom } from '../support/seeded-random.js';
import { startDaxd } from './daxd.js';
import type { Daxd } from './daxd.js';
import { guideBlocks, installDaxd, runScript } from './guide.js';
import { noClients } from './nbd.js';

const GUIDE = 'docs/guides/nbd.md';
const COMMANDS = [
  ...'nbdinfo nbdcopy qemu-img qemu-storage-daemon fio sgdisk certtool psktool curl jq'.split(' '),
  'bash',
];

/** Where the guide's places lie in this test. */
class Places {
  readonly directory: string;
  port = '10809';

  constructor(directory: string) {
    this.directory = directory;
  }

  translate(text: string): string {
    const within = (name: string): string => join(this.directory, name);
    return text
      .replaceAll('/run/daxd/nbd.sock', within('nbd.sock'))
      .replaceAll('/etc/daxd', within('etc'))
      .replaceAll('0.0.0.0:10809', '127.0.0.1:0')
      .replaceAll('storage.example', 'localhost')
      .replaceAll('10809', this.port);
  }
}

/** The reader's own images, and a `daxd` on the PATH. */
function prepare(directory: string): void {
  const image = join(directory, 'disk.img');
  writeFileSync(image, new SeededRandom(11).bytes(8 * MIB));
  const { status, stderr } = spawnSync(
    'qemu-img',
    ['convert', '-f', 'raw', '-O', 'qcow2', image, join(directory, 'disk.qcow2')],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stderr);
  installDaxd(directory);
}

/** Starts what a `serve` block starts, in place of the one before. */
async function serve(t: Test, places: Places, text: string, running: Daxd | undefined) {
  if (running !== undefined) t.equal(await running.stop(), 0);
  const words = places.translate(text).trim().split(/\s+/);
  t.strictSame(words.slice(0, 2), ['daxd', 'serve']);
  const daxd = await startDaxd(t, words.slice(2), places.directory);
  places.port = / nbd:\/\/[^ ]+:(\d+)/.exec(daxd.stdout[0] ?? '')?.[1] ?? places.port;
  return daxd;
}

t.test('every recipe runs as it stands', async (t) => {
  if (!requires(t, { commands: COMMANDS, root: true })) return;
  const directory = scratchDirectory(t);
  t.teardown(() => {
    // Where a recipe failed half way its FUSE file is still there.
    spawnSync('umount', ['-q', '-l', join(directory, 'disk.fuse')]);
  });
  prepare(directory);
  const places = new Places(directory);
  let daxd: Daxd | undefined;
  let run = 0;
  for (const { language, mode, text } of guideBlocks(GUIDE)) {
    if (language !== 'sh' || mode === 'unrun') continue;
    if (mode === 'serve') {
      daxd = await serve(t, places, text, daxd);
      continue;
    }
    if (daxd === undefined) throw new Error(`no daemon yet for ${text}`);
    const printed = runScript(t, places.translate(text), { directory, url: daxd.url });
    if (text.includes('daxd:lease')) t.match(printed, /^ *0 +4096 +1\b/m, 'the lent page');
    // A program that was told to end may still be about it.
    await noClients(daxd);
    run += 1;
  }
  t.ok(run > 8, `${run} recipes`);
  if (daxd !== undefined) t.equal(await daxd.stop(), 0);
});

t.test('what is not run says so', async (t) => {
  const unrun = guideBlocks(GUIDE).filter(({ mode }) => mode === 'unrun');
  t.equal(unrun.length, 3);
  const guide = readFileSync(GUIDE, 'utf8');
  for (const { text, before } of unrun) {
    const section = guide.slice(0, guide.indexOf(text)).split('\n## ').at(-1) ?? before;
    t.match(section, /Unrun: .*(needs|no libvirt)/s, text);
  }
  const others = guideBlocks(GUIDE).filter(
    ({ language, mode }) => language !== 'sh' && mode !== 'unrun',
  );
  t.strictSame(others, [], 'every other block is one of commands');
});
