import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import type { Test } from 'tap';
import { scratchDirectory } from '../support/scratch-directory.js';

/**
 * A copy of the built product with one place of one file other than it is. It runs from the
 * files that the bundle was made of.
 */
export function mutant(t: Test, file: string, text: string, instead: string): string {
  const directory = scratchDirectory(t);
  for (const part of ['dist', 'package.json']) {
    cpSync(part, join(directory, part), { recursive: true });
  }
  symlinkSync(resolve('node_modules'), join(directory, 'node_modules'));
  const path = join(directory, 'dist', file);
  if (!existsSync(path)) throw new Error(`there is no ${file}`);
  const parts = readFileSync(path, 'utf8').split(text);
  if (parts.length !== 2) throw new Error(`${file} holds ${text} ${parts.length - 1} times`);
  writeFileSync(path, parts.join(instead));
  return join(directory, 'dist/cli/main.js');
}
