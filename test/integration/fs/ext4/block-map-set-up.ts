import {
  closeSync,
  mkdirSync,
  openSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import type { Test } from 'tap';

import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { MIB } from '../../../../src/lib/units.js';
import { debugfs, fsck, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';

export const JUDGES = {
  commands: ['mke2fs', 'tune2fs', 'e2fsck', 'debugfs', 'mount', 'umount'],
  root: true,
};
export const LONG = 'x'.repeat(200);
/** More than a block of them. */
export const NAMES = Array.from({ length: 200 }, (_, i) => `${i}`.repeat(20));
export const FILE_BYTES = 9 * MIB + 123;
/** Behind what two blocks of numbers reach. */
export const FAR = (12 + 1024 + 1024 * 1024 + 5) * BLOCK_SIZE;
export const SPARSE = 'sparse';
export const SPARSE_AT = [0, 3 * MIB, 40 * MIB, FAR];

/** An ext3 with one of everything, made an ext4. */
export async function upgraded(t: Test): Promise<string> {
  const image = join(scratchDirectory(t), 'image');
  writeFileSync(image, '');
  truncateSync(image, 64 * MIB);
  t.match(runJudge('mke2fs', ['-q', '-F', '-t', 'ext3', '-b', '4096', image]), { status: 0 });
  await withLoopMount(image, 'rw', (root) => {
    symlinkSync(LONG, join(root, 'long'));
    symlinkSync('short', join(root, 'short'));
    mkdirSync(join(root, 'dir'));
    for (const name of NAMES) writeFileSync(join(root, 'dir', name), '');
    writeFileSync(join(root, 'file'), Buffer.alloc(FILE_BYTES, 'file'));
    const sparse = openSync(join(root, 'sparse'), 'w');
    for (const at of SPARSE_AT) writeSync(sparse, SPARSE, at);
    closeSync(sparse);
  });
  // It gives checksums to what was checked after its last mount alone.
  t.match(runJudge('e2fsck', ['-fy', image]), { status: 0 });
  const { status, output } = runJudge('tune2fs', ['-O', 'extents,metadata_csum', image]);
  t.equal(status, 0, output);
  runJudge('e2fsck', ['-fyD', image]);
  t.match(fsck(image), { status: 0 });
  t.match(debugfs(image, 'stat /sparse'), /TIND/);
  return image;
}
