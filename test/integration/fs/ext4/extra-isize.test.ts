import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import { debugfs, debugfsWrite, makeImage } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { finish, mountImage } from './set-up.js';

for (const [inodeSize, extra, used] of [
  [256, 1000, 32],
  [256, 132, 32],
  [256, 30, 32],
  [256, 4, 32],
  [256, 0, 32],
  [256, 34, 32],
  [256, 36, 36],
  [256, 128, 128],
  [512, 200, 200],
] as const) {
  t.test(`s_want_extra_isize ${extra} of ${inodeSize} is taken for ${used}`, async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'debugfs'] })) return;
    const image = join(scratchDirectory(t), 'image');
    makeImage(image, 32 * MIB, ['-I', String(inodeSize)]);
    debugfsWrite(image, [`ssv want_extra_isize ${extra}`]);
    const mounted = { ...(await mountImage(image)), image };
    const inode = await mounted.fs.create('file');
    const { mtimeNs } = mounted.fs.stat(inode);
    await mounted.close();
    t.match(debugfs(image, 'stat /file'), new RegExp(`Size of extra inode fields: ${used}$`, 'm'));
    // As new as after a reboot: nothing is known to be right.
    const again = { ...(await mountImage(image)), image };
    t.equal(again.fs.stat(again.fs.lookup('file')).mtimeNs, mtimeNs);
    await finish(t, again);
  });
}
