import { createHash } from 'node:crypto';
import { join } from 'node:path';

import type { Test } from 'tap';

import { Layouts } from '../../../../src/dax/layouts.js';
import { mountExt4 } from '../../../../src/fs/ext4/ext4.js';
import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { systemClock } from '../../../../src/lib/clock.js';
import type { DaxdError } from '../../../../src/lib/errno.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import type { Backing } from '../../../../src/media/backing.js';
import { openBacking } from '../../../../src/media/open-backing.js';
import { pinUserPages, unpinUserPages } from '../../../../src/mm/gup.js';
import { fsck, makeImage } from '../../../support/ext4-image.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { mapPages } from '../../../unit/mm/set-up.js';
import { layoutsOf } from '../../../support/layouts.js';

/** An ext4 that is mounted by daxd, and the pages under it. */
export interface MountedImage {
  readonly fs: Ext4;
  readonly layouts: Layouts;
  readonly backing: Backing;
  /** What the filesystem warned of. */
  readonly warnings: readonly string[];
  /** Pins pages of the partition, `byteOffset` and `length` being whole pages. */
  readonly pin: (byteOffset: number, length: number) => void;
  readonly unpin: (byteOffset: number, length: number) => void;
  /** Unmounts and closes. */
  readonly close: () => Promise<void>;
}

/** How {@link mountImage} mounts. */
export interface MountImageOptions {
  readonly readOnly?: boolean;
  /** Where the partition lies in the file; the whole file by default. */
  readonly startBytes?: number;
  readonly sizeBytes?: number;
}

/** Opens an image file and mounts the ext4 in it. */
export async function mountImage(
  path: string,
  { readOnly = false, startBytes = 0, sizeBytes }: MountImageOptions = {},
): Promise<MountedImage> {
  const warnings: string[] = [];
  const log = { ...silentLogger, warn: (_: unknown, message: string) => warnings.push(message) };
  const backing = await openBacking(path, { readOnly, log: silentLogger });
  const { memremap, pgmap, waiters } = await mapPages({ pages: backing.sizeBytes / PAGE_SIZE });
  const layouts = layoutsOf({ pgmap, waiters });
  const range = new BackingRange(backing, startBytes, sizeBytes ?? backing.sizeBytes - startBytes);
  const pfn = (byteOffset: number): number => (startBytes + byteOffset) / PAGE_SIZE;
  try {
    const fs = await mountExt4(range, { readOnly, layouts, log, clock: systemClock });
    return {
      fs,
      layouts,
      backing,
      warnings,
      pin: (byteOffset, length) => {
        pinUserPages(memremap, pfn(byteOffset), length / PAGE_SIZE);
      },
      unpin: (byteOffset, length) => {
        unpinUserPages(memremap, pfn(byteOffset), length / PAGE_SIZE);
      },
      async close() {
        await fs.unmount();
        await backing.close();
      },
    };
  } catch (error) {
    await backing.close();
    throw error;
  }
}

/** Mounts an image for the rest of a test. */
export async function mountForTest(
  t: Test,
  path: string,
  options: MountImageOptions = {},
): Promise<MountedImage> {
  const mounted = await mountImage(path, options);
  t.teardown(() => mounted.close());
  return mounted;
}

/** A file's content, from its stream. */
export async function readAll(fs: Ext4, inode: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of fs.readStream(inode, 0, fs.stat(inode).size)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** sha256 of a file's content, in hex. */
export async function digestOf(fs: Ext4, inode: number): Promise<string> {
  const digest = createHash('sha256');
  for await (const piece of fs.readStream(inode, 0, fs.stat(inode).size)) digest.update(piece);
  return digest.digest('hex');
}

/** The tree as `kernelTree` describes what a kernel mount shows. */
export async function ownTree(fs: Ext4): Promise<string[]> {
  const lines: string[] = [];
  const visit = async (directory: number, shown: string): Promise<void> => {
    for (const { name, inode } of fs.readdir(directory)) {
      const path = `${shown}/${name.toString('latin1')}`;
      if (path === '/lost+found') continue;
      const { type, nlink, size, blocks, target } = fs.stat(inode);
      const head = `${path} nlink=${nlink}`;
      if (type === 'directory') {
        lines.push(`${head} directory`);
        await visit(inode, path);
      } else if (type === 'symlink') {
        lines.push(`${head} symlink ${Buffer.from(target ?? '').toString('latin1')}`);
      } else if (type === 'file') {
        lines.push(`${head} file ${size} ${blocks} ${await digestOf(fs, inode)}`);
      } else {
        lines.push(`${head} other`);
      }
    }
  };
  await visit(fs.lookup(''), '');
  return lines.toSorted();
}

/** A mounted image and the file that it lies in. */
export type MountedFile = MountedImage & { readonly image: string };

/** An empty filesystem, mounted, which e2fsck must find clean when the test has ended. */
export async function mountEmpty(t: Test, args: readonly string[] = []): Promise<MountedFile> {
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB, args);
  const mounted = await mountImage(image);
  return { ...mounted, image };
}

/** Unmounts, and has e2fsck look. */
export async function finish(t: Test, { image, close }: MountedFile): Promise<void> {
  await close();
  t.match(fsck(image), { status: 0 }, 'e2fsck finds nothing');
}

/** Asks for a refusal with `code` that changes nothing. */
export async function refuses(
  t: Test,
  { fs }: MountedImage,
  code: DaxdError['code'],
  change: () => Promise<unknown>,
): Promise<void> {
  const before = await ownTree(fs);
  await t.rejects(change(), { code, name: 'DaxdError' });
  t.strictSame(await ownTree(fs), before, `${code}: nothing changed`);
}
