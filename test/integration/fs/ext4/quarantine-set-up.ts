import type { Test } from 'tap';

import { PAGE_SIZE } from '../../../../src/lib/units.js';
import { debugfs } from '../../../support/ext4-image.js';
import { newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

/** Name of the quarantine in the root, as outside judges see it. */
export const NAME = '.daxd-quarantine';

/** An open image with a file `a` of some pages, page n full of n + 1. */
export async function withPages(
  t: Test,
  pages: number,
  args: readonly string[] = [],
): Promise<OpenImage & { readonly inode: number }> {
  const open = await openImage(newImage(t, args));
  const inode = await open.fs.create('a');
  await open.fs.write(inode, 0, contentOf(pages));
  return { ...open, inode };
}

/** Page n full of n + 1. */
export function contentOf(pages: number): Buffer {
  return Buffer.concat(Array.from({ length: pages }, (_, page) => pageOf(page)));
}

/** One page full of n + 1. */
export function pageOf(page: number): Buffer {
  return Buffer.alloc(PAGE_SIZE, page + 1);
}

/** Where a page of a file lies on the partition, in bytes. */
export function pageAt({ fs }: OpenImage, inode: number, page: number): number {
  const [extent] = fs.extents(inode, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  if (extent === undefined) throw new Error(`no block behind page ${page}`);
  return extent.mediaOffset;
}

/** Bytes of the partition as they are now. */
export function mediaOf({ backing }: OpenImage, mediaOffset: number, length = PAGE_SIZE): Buffer {
  const bytes = Buffer.alloc(length);
  backing.mapping.read(mediaOffset, bytes);
  return bytes;
}

/** All of a file by daxd. */
export function bytesOf({ fs }: OpenImage, inode: number): Buffer {
  const bytes = Buffer.alloc(fs.stat(inode).size);
  fs.read(inode, 0, bytes);
  return bytes;
}

/** The inode of the quarantine as debugfs finds it; 0 without one. */
export function quarantineInode(image: string): number {
  const line = debugfs(image, 'ls -p /')
    .split('\n')
    .find((one) => one.includes(`/${NAME}/`));
  return Number(line?.split('/')[1] ?? 0);
}

/** The inodes that blocks belong to, by debugfs; 0 for none. */
export function ownersOf(image: string, blocks: readonly number[]): number[] {
  const rows = debugfs(image, `icheck ${blocks.join(' ')}`).matchAll(/^(\d+)\t(\d+)$/gm);
  const owners = new Map([...rows].map(([, block, inode]) => [Number(block), Number(inode)]));
  return blocks.map((block) => owners.get(block) ?? 0);
}
