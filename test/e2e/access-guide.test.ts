/** The commands of docs/guides/access.md, run as they stand there; only places and ports are others. */
import { join } from 'node:path';

import t from 'tap';

import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { startDaxd } from './daxd.js';
import type { Daxd } from './daxd.js';
import { guideBlocks, installDaxd, runScript } from './guide.js';

const GUIDE = 'docs/guides/access.md';
const COMMANDS = ['awk', 'bash', 'curl', 'jq', 'openssl'];

t.test('every step runs as it stands, and prints what the guide says', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const directory = scratchDirectory(t);
  installDaxd(directory);
  let daxd: Daxd | undefined;
  const translate = (text: string): string =>
    text
      .replaceAll('/etc/daxd', join(directory, 'etc'))
      .replaceAll('/run/daxd', directory)
      .replaceAll('0.0.0.0:8470', '0.0.0.0:0')
      .replaceAll('storage.example', 'localhost')
      .replaceAll(':8470', `:${new URL(daxd?.url ?? 'http://none').port}`);
  let printed = '';
  let run = 0;
  for (const { language, mode, text } of guideBlocks(GUIDE)) {
    if (language === 'text') t.equal(printed, text);
    if (language !== 'sh') continue;
    if (mode === 'serve') {
      if (daxd !== undefined) t.equal(await daxd.stop(), 0);
      const [program, verb, ...options] = translate(text).trim().split(/\s+/);
      t.strictSame([program, verb], ['daxd', 'serve']);
      daxd = await startDaxd(t, options, directory);
      continue;
    }
    printed = runScript(t, translate(text), { directory, url: daxd?.url ?? '' });
    run += 1;
  }
  t.equal(run, 11, 'steps');
  t.equal(await daxd?.stop(), 0);
});

t.test('every block is a step, or what it prints', async (t) => {
  const blocks = guideBlocks(GUIDE);
  t.strictSame(
    blocks.filter(({ language }) => !['sh', 'text'].includes(language)),
    [],
  );
});
