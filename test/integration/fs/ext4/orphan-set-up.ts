import { copyFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Test } from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import type { Verdict } from '../../../support/ext4-image.js';
import { runJudge } from '../../../support/ext4-image.js';
import { newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

/** Pages of each file of {@link withFiles}. */
export const PAGES = 20;

/** Both ways to note an orphan, by the arguments that mke2fs needs for them. */
export const ORPHAN_KINDS: readonly { readonly kind: string; readonly args: readonly string[] }[] =
  [
    { kind: 'orphan file', args: ['-O', 'orphan_file'] },
    { kind: 'classic list', args: ['-O', '^orphan_file'] },
  ];

/** A copy of an image as the media have it now, as after a crash. */
export function crashCopy(image: string, suffix = 'crash'): string {
  const copy = `${image}.${suffix}`;
  copyFileSync(image, copy);
  return copy;
}

/** `e2fsck -fy`: repairs; then `e2fsck -fn`, which must find nothing more. */
export function repair(image: string): { readonly first: Verdict; readonly second: Verdict } {
  const first = runJudge('e2fsck', ['-fy', image]);
  return { first, second: runJudge('e2fsck', ['-fn', image]) };
}

/** What the kernel has said since a mark. */
export class KernelLog {
  #seen = lines();

  /** Lines since the last call. */
  fresh(): string[] {
    const now = lines();
    const last = this.#seen.at(-1);
    this.#seen = now;
    return last === undefined ? now : now.slice(now.lastIndexOf(last) + 1);
  }
}

function lines(): string[] {
  return runJudge('dmesg', [])
    .output.split('\n')
    .filter((line) => line !== '');
}

/** Waits until something holds, for background work; gives up after 5 seconds. */
export async function until(holds: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 500; tries++) {
    if (holds()) return true;
    await sleep(10);
  }
  return false;
}

/** Waits until an inode is freed. */
export async function untilFreed(fs: Ext4, inode: number): Promise<boolean> {
  return await until(() => {
    try {
      fs.stat(inode);
      return false;
    } catch {
      return true;
    }
  });
}

/** A volume with files of twenty pages: `a`, `b`. */
export async function withFiles(
  t: Test,
  args: readonly string[] = [],
): Promise<OpenImage & { readonly a: number; readonly b: number }> {
  const open = await openImage(newImage(t, args, 16 * MIB));
  const { fs } = open;
  const [a, b] = await Promise.all(
    ['a', 'b'].map(async (name) => {
      const inode = await fs.create(name);
      await fs.write(inode, 0, contentOf(name));
      return inode;
    }),
  );
  return { ...open, a: a ?? 0, b: b ?? 0 };
}

/** What a file of {@link withFiles} holds. */
export function contentOf(name: string): Buffer {
  return Buffer.alloc(PAGES * PAGE_SIZE, name);
}

/** Where a page of a file lies on the partition. */
export function mediaOf({ fs }: OpenImage, inode: number, page = 0): number {
  return (fs.extents(inode)[0]?.mediaOffset ?? 0) + page * PAGE_SIZE;
}
