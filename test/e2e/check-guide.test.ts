/** The commands of docs/guides/check-and-repair.md, run as they stand there; only the socket's place is another. */
import { spawnSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { runVerb, startDaxd } from './daxd.js';
import type { Daxd } from './daxd.js';
import { guideBlocks, installDaxd, runScript } from './guide.js';
import { noClients } from './nbd.js';

const GUIDE = 'docs/guides/check-and-repair.md';
const COMMANDS = 'bash e2fsck flock jq losetup qemu-storage-daemon sgdisk'.split(' ');

t.test('every step runs as it stands, and prints what the guide says', async (t) => {
  if (!requires(t, { commands: COMMANDS, root: true })) return;
  const directory = scratchDirectory(t);
  t.teardown(() => {
    // Where a step failed half way its FUSE file is still there.
    spawnSync('umount', ['-q', '-l', join(directory, 'disk.fuse')]);
  });
  installDaxd(directory);
  const translate = (text: string): string => text.replaceAll('/run/daxd', directory);
  let daxd: Daxd | undefined;
  let printed = '';
  let run = 0;
  for (const { language, mode, text } of guideBlocks(GUIDE)) {
    if (language === 'text') t.equal(printed, text);
    if (language !== 'sh') continue;
    const words = translate(text).trim().split(/\s+/);
    daxd = await toMode(t, mode, { daxd, directory, words });
    if (mode === 'serve') continue;
    printed = runScript(t, translate(text), { directory, url: daxd?.url ?? '' });
    if (daxd !== undefined) await noClients(daxd);
    run += 1;
  }
  t.equal(run, 4, 'steps');
  t.equal(await daxd?.stop(), 0);
  daxd = await startDaxd(t, ['--backing', 'pmem0.img'], directory);
  t.match(runVerb(daxd.url, ['cat', 'data.bin']), { exit: 0, stdout: 'hello' });
  t.equal(await daxd.stop(), 0);
});

interface Step {
  readonly daxd: Daxd | undefined;
  readonly directory: string;
  readonly words: readonly string[];
}

/** The daemon that a block finds: the one before, one that the block starts, or none. */
async function toMode(
  t: Test,
  mode: string,
  { daxd, directory, words }: Step,
): Promise<Daxd | undefined> {
  if (mode === '') return daxd;
  if (mode === 'stopped') locked(t, directory);
  if (daxd !== undefined) t.equal(await daxd.stop(), 0);
  if (mode === 'crashed') await crash(t, directory);
  if (mode !== 'serve') return undefined;
  t.strictSame(words.slice(0, 2), ['daxd', 'serve']);
  return startDaxd(t, words.slice(2), directory);
}

/** The lock that the guide relies on keeps a tool out while daxd runs. */
function locked(t: Test, directory: string): void {
  const { status } = spawnSync('flock', ['-n', 'pmem0.img', 'true'], { cwd: directory });
  t.equal(status, 1, 'daxd holds the lock');
}

/** Leaves a change in the log alone, and shows on a copy why it takes a loop device. */
async function crash(t: Test, directory: string): Promise<void> {
  const daxd = await startDaxd(t, ['--backing', 'pmem0.img'], directory);
  t.match(runVerb(daxd.url, ['put', 'data.bin'], 'hello'), { exit: 0 });
  await daxd.stop('SIGKILL');
  copyFileSync(join(directory, 'pmem0.img'), join(directory, 'copy.img'));
  const script = 'read -r name at size <places; e2fsck "$1" "copy.img?offset=$at"';
  const check = (flag: string) =>
    spawnSync('bash', ['-c', script, 'bash', flag], { cwd: directory, encoding: 'utf8' });
  t.match(check('-fn'), { status: 4 }, 'counts that the log would mend');
  t.match(check('-fy'), { status: 12, stderr: /Bad magic number/ });
}

t.test('every block is a step, or what it prints', async (t) => {
  const others = guideBlocks(GUIDE).filter(({ language }) => !['sh', 'text'].includes(language));
  t.strictSame(others, []);
});
