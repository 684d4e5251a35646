import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import type { Test } from 'tap';
import { scratchDirectory } from '../support/scratch-directory.js';

interface Place {
  /** Of `dist`; its source is the `.ts` of that name in `src`. */
  readonly file: string;
  /** Stands exactly once in the file, and in its source. */
  readonly text: string;
}

const LMDB_STORE = 'lease/lmdb/lmdb-store.js';
const EXPORT_ACCESS = 'nbd/export-access.js';

/** The places of the product that negative controls change. */
export const PLACES = {
  storeSync: { file: LMDB_STORE, text: 'overlappingSync: false,' },
  storeWritten: { file: LMDB_STORE, text: 'await written;' },
  keptChange: {
    file: 'daemon/kept-change.js',
    text: 'this.#storing = this.#store(this.#kept);',
  },
  partialRelease: { file: 'lease/lease-steps.js', text: 'await store.commit(smaller);' },
  nbdPersist: { file: EXPORT_ACCESS, text: 'this.raw.persist(this.start + offset, length);' },
  nbdFlush: { file: EXPORT_ACCESS, text: 'this.persist(0, this.info.sizeBytes);' },
} as const satisfies Record<string, Place>;

/**
 * A copy of the built product with one place of one file other than it is. It runs from the
 * files that the bundle was made of.
 */
export function mutant(t: Test, { file, text }: Place, instead: string): string {
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
