import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import type { Test } from 'tap';

/** A fenced block of a guide. */
export interface Block {
  readonly language: string;
  /** `serve` starts a daemon, `unrun` needs what is not here, none is run. */
  readonly mode: string;
  readonly text: string;
  /** The paragraph before it. */
  readonly before: string;
}

/** The blocks of a guide, in their order. */
export function guideBlocks(guide: string): Block[] {
  const text = readFileSync(guide, 'utf8');
  const fences = [...text.matchAll(/^```(\w+)(?: (\w+))?\n([^`]*)^```$/gm)];
  return fences.map((fence) => {
    const [, language = '', mode = '', block = ''] = fence;
    const before = text.slice(0, fence.index).trimEnd().split('\n\n').at(-1) ?? '';
    return { language, mode, text: block, before };
  });
}

/** Puts a `daxd` into `bin` of a directory, for {@link runScript}. */
export function installDaxd(directory: string): void {
  mkdirSync(join(directory, 'bin'));
  const daxd = join(directory, 'bin', 'daxd');
  writeFileSync(daxd, `#!/bin/sh\nexec ${process.execPath} ${resolve('bin/daxd.js')} "$@"\n`);
  chmodSync(daxd, 0o755);
}

/** Runs a block of commands to its end, where each must do well, and gives what it printed. */
export function runScript(
  t: Test,
  script: string,
  { directory, url }: { readonly directory: string; readonly url: string },
): string {
  // The next block is pasted behind this one, so none may leave the directory.
  const stays = `${script}\n[ . -ef '${directory}' ]`;
  const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', stays], {
    cwd: directory,
    encoding: 'utf8',
    timeout: 60_000,
    env: {
      ...process.env,
      PATH: `${join(directory, 'bin')}:${process.env['PATH']}`,
      DAXD_URL: url,
    },
  });
  t.equal(status, 0, `${script}${stdout}${stderr}`);
  return stdout;
}
