import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import type { Test } from 'tap';

import { unpackKernelNamespace } from '../support/fixture.js';
import { scratchDirectory } from '../support/scratch-directory.js';

/** A copy of the kernel's namespace for one test, and the one that nobody touches. */
export interface KernelImage {
  readonly directory: string;
  readonly path: string;
  readonly pristine: string;
}

/** Unpacks the kernel's namespace once, for as long as `t` runs, and gives a way to copy it. */
export async function kernelImages(t: Test): Promise<(t: Test) => KernelImage> {
  const pristine = join(scratchDirectory(t), 'pristine.img');
  await unpackKernelNamespace(pristine);
  return (test) => {
    const directory = scratchDirectory(test);
    const path = join(directory, 'k.img');
    copySparse(pristine, path);
    return { directory, path, pristine };
  };
}

/** Copies a file and keeps its holes. */
export function copySparse(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['--sparse=always', from, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`cp ${from} ${to}: ${stderr}`);
}

/** Whether two files hold the same bytes. */
export function sameBytes(a: string, b: string): boolean {
  return spawnSync('cmp', ['-s', a, b]).status === 0;
}
