import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { mkfsExt4 } from '../../../../src/fs/ext4/mkfs.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { openBacking } from '../../../../src/media/open-backing.js';
import {
  fsck,
  fsckMounted,
  kernelTree,
  makeImage,
  withLoopMount,
} from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { RandomOperations } from './random-operations.js';
import { mountImage, ownTree } from './set-up.js';
import { testSeed, times } from '../../../support/random-test.js';
import { SeededRandom } from '../../../support/seeded-random.js';

/** An image made by daxd over memory full of 0xA5: a byte of it in a file is a stale one. */
async function makeOwn(path: string, sizeBytes: number): Promise<void> {
  const backing = await openBacking(path, { sizeBytes, sparse: true, log: silentLogger });
  const range = new BackingRange(backing, 0, sizeBytes);
  range.fill(0, sizeBytes, 0xa5);
  await mkfsExt4(range, { label: 'random', clock: systemClock });
  await backing.close();
}

/** Runs operations, has e2fsck look after every few, and at the end the kernel. */
async function runAndJudge(
  t: Test,
  image: string,
  { seed, operations, every }: { seed: number; operations: number; every: number },
): Promise<void> {
  const { fs, close } = await mountImage(image);
  const random = new RandomOperations(fs, new SeededRandom(seed));
  for (let i = 1; i <= operations; i++) {
    const done = await random.step();
    if (i % every !== 0) continue;
    const verdict = fsckMounted(image);
    if (verdict.status !== 0) {
      t.fail(`seed ${seed}, operation ${i}, ${done}: ${verdict.output}`);
      break;
    }
  }
  t.strictSame(await random.differences(), [], `seed ${seed}: the model agrees`);
  const ours = await ownTree(fs);
  await close();
  t.match(fsck(image), { status: 0 }, 'e2fsck finds nothing after the unmount');
  await withLoopMount(image, 'ro', (directory) => {
    t.strictSame(kernelTree(directory), ours, `seed ${seed}: the kernel reads the same`);
  });
  const again = await mountImage(image);
  t.strictSame(again.warnings, []);
  t.strictSame(await ownTree(again.fs), ours);
  await again.close();
}

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'mount'], root: true };

t.test('300 random operations: e2fsck is content after each, the kernel at the end', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  await makeOwn(image, 48 * MIB);
  await runAndJudge(t, image, { seed: testSeed(t), operations: times(300), every: 1 });
});

t.test(
  'random operations on images of mke2fs: small groups, other features, no room',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const seed = testSeed(t);
    const directory = scratchDirectory(t);
    for (const [name, sizeBytes, args] of [
      ['uninitialised groups', 64 * MIB, ['-g', '2048', '-N', '4096']],
      ['newer features', 32 * MIB, ['-O', 'orphan_file,metadata_csum_seed']],
      ['32-byte descriptors', 32 * MIB, ['-O', '^64bit']],
      ['no journal', 32 * MIB, ['-O', '^has_journal']],
      ['soon full', 12 * MIB, []],
    ] as const) {
      await t.test(name, async (t) => {
        const image = join(directory, name);
        makeImage(image, sizeBytes, args);
        await runAndJudge(t, image, { seed, operations: times(120), every: 8 });
      });
    }
  },
);
