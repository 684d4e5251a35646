/** Logs that daxd did not write: debugfs makes them, and e2fsck says what they mean. */
import { copyFileSync, writeFileSync } from 'node:fs';

import t from 'tap';
import type { Test } from 'tap';

import { BLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import { debugfsWrite, runJudge } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { closeClean, debugfsExtents, dumpFile, newImage, openImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs', 'dumpe2fs'];
const DATA = 0x41;
const OLD = 0x5a;
const BLOCKS = 3;

/** An image with a file of three data blocks that lie in a row, and what to log over them. */
function imageWithFile(
  t: Test,
  args: readonly string[],
): { image: string; old: string; inode: number; first: number } {
  const image = newImage(t, args);
  const data = `${image}.data`;
  const old = `${image}.old`;
  writeFileSync(data, Buffer.alloc(BLOCKS * BLOCK_SIZE, DATA));
  writeFileSync(old, Buffer.alloc(BLOCKS * BLOCK_SIZE, OLD));
  const inode = Number(
    /Allocated inode: (\d+)/.exec(debugfsWrite(image, [`write ${data} f`]))?.[1],
  );
  const first = debugfsExtents(image, inode)[0]?.physical ?? 0;
  return { image, old, inode, first };
}

t.test(
  'openVolume: a revoked block is not replayed, whatever the size of its number',
  async (t) => {
    if (!requires(t, { commands: COMMANDS })) return;
    for (const feature of ['64bit', '^64bit']) {
      await t.test(feature, async (t) => {
        const { image, old, inode, first } = imageWithFile(t, ['-O', feature]);
        // Three copies and two numbers: as one number of 64 bits they would be no block at all.
        const requests = [
          'jo -c -v 3',
          `jw -b ${first}-${first + BLOCKS - 1} ${old}`,
          `jw -r ${first},${first + 2}`,
          'jc',
        ];
        debugfsWrite(image, requests);
        const header = runJudge('dumpe2fs', ['-h', image]).output;
        t.match(header, /needs_recovery/);
        t.equal(/Journal features:.*64bit/.test(header), feature === '64bit');
        const judged = `${image}.judged`;
        copyFileSync(image, judged);
        runJudge('e2fsck', ['-fy', judged]);

        await closeClean(t, await openImage(image));
        const content = dumpFile(image, inode);
        const letters = [0, 1, 2].map((i) => content.readUInt8(i * BLOCK_SIZE));
        t.strictSame(letters, [DATA, OLD, DATA]);
        t.ok(content.equals(dumpFile(judged, inode)), 'e2fsck makes the same of it');
      });
    }
  },
);
