import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { Layouts } from '../../../../src/dax/layouts.js';
import { mountExt4 } from '../../../../src/fs/ext4/ext4.js';
import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { mkfsExt4 } from '../../../../src/fs/ext4/mkfs.js';
import { probeSuperblock } from '../../../../src/fs/ext4/probe.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { silentLogger } from '../../../../src/lib/logger.js';
import { MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { fsck, fsckMounted, kernelTree, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { until } from './orphan-set-up.js';
import { ownTree } from './set-up.js';
import { testSeed } from '../../../support/random-test.js';
import { layoutsOf } from '../../../support/layouts.js';
import { MemoryBacking } from '../../../support/memory-backing.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { settle } from '../../../support/settle.js';

const SIZE_BYTES = 16 * MIB;
const PATHS = ['a', 'b', 'c', 'd', 'a/x', 'a/y', 'b/x', 'c/z', 'a/x/deep'];

/** A filesystem in memory whose persists take turns of the event loop, as many as chance says. */
async function mountSlow(
  random: SeededRandom,
): Promise<{ fs: Ext4; range: BackingRange; layouts: Layouts }> {
  const backing = new MemoryBacking(SIZE_BYTES, {
    async onPersist() {
      for (let turns = random.below(6); turns > 0; turns--) await settle();
    },
  });
  const range = new BackingRange(backing, 0, SIZE_BYTES);
  range.fill(0, SIZE_BYTES, 0xa5);
  await mkfsExt4(range, { label: 'slow', clock: systemClock });
  const layouts = layoutsOf();
  const options = { readOnly: false, layouts, log: silentLogger, clock: systemClock };
  return { fs: await mountExt4(range, options), range, layouts };
}

/** One operation on one of a few names, so that they meet each other all the time. */
async function operate(fs: Ext4, random: SeededRandom): Promise<void> {
  const path = random.pick(PATHS) ?? '';
  const other = random.pick(PATHS) ?? '';
  const offset = random.below(60_000);
  const data = random.bytes(1 + random.below(random.below(4) === 0 ? 900_000 : 9000));
  async function* pieces(): AsyncGenerator<Buffer> {
    yield data.subarray(0, data.length / 2);
    await settle();
    yield data.subarray(data.length / 2);
  }
  const operations: readonly (() => Promise<unknown>)[] = [
    () => fs.mkdir(path),
    () => fs.create(path),
    () => fs.symlink(path, `/${other}`),
    () => fs.replace(path, pieces()),
    () => fs.replace(path, pieces()),
    async () => await fs.write(fs.lookup(path), offset, data),
    async () => await fs.write(fs.lookup(path), offset, data),
    async () => await fs.truncate(fs.lookup(path), offset),
    async () => await fs.punchHole(fs.lookup(path), offset, data.length),
    async () => await fs.zeroRange(fs.lookup(path), offset, data.length, { keepSize: false }),
    async () => await fs.fallocate(fs.lookup(path), offset, data.length, { keepSize: true }),
    async () => await fs.prepareDma(fs.lookup(path), 0, 1, 'write'),
    () => fs.unlink(path),
    () => fs.rename(path, other),
    () => fs.rename(path, other),
  ];
  await random.pick(operations)?.();
}

t.test('operations that meet on the same names: always whole, never a leak', async (t) => {
  if (!requires(t, { commands: ['e2fsck', 'mount'], root: true })) return;
  const seed = testSeed(t);
  const random = new SeededRandom(seed);
  const { fs, range, layouts } = await mountSlow(random);
  const image = join(scratchDirectory(t), 'image');
  const dump = (): void => {
    const bytes = Buffer.alloc(SIZE_BYTES);
    range.read(0, bytes);
    writeFileSync(image, bytes);
  };
  const codes = new Map<string, number>();
  for (let round = 0; round < 40; round++) {
    const attempts = Array.from({ length: 12 }, () => operate(fs, random));
    for (const outcome of await Promise.allSettled(attempts)) {
      if (outcome.status === 'fulfilled') continue;
      const { reason } = outcome;
      if (!(reason instanceof DaxdError)) throw reason;
      codes.set(reason.code, (codes.get(reason.code) ?? 0) + 1);
    }
    t.ok(await until(() => layouts.size === 0), 'what was removed at work is freed');
    dump();
    const verdict = fsckMounted(image);
    if (verdict.status !== 0) {
      t.fail(`seed ${seed}, round ${round}: ${verdict.output}`);
      break;
    }
  }
  t.comment(`refused: ${JSON.stringify(Object.fromEntries(codes))}`);
  t.strictSame(
    [...codes.keys()].filter((code) => !EXPECTED.has(code)),
    [],
  );
  const ours = await ownTree(fs);
  const { freeBytes } = fs.statfs();
  await fs.unmount();
  t.equal(freeBytes, probeSuperblock(range)?.freeBytes, 'no block is still reserved');
  dump();
  t.match(fsck(image), { status: 0 });
  await withLoopMount(image, 'ro', (directory) => {
    t.strictSame(kernelTree(directory), ours);
  });
});

/** What names that come and go may be refused with; nothing that speaks of damage. */
const EXPECTED = new Set([
  'ENOENT',
  'EEXIST',
  'ENOTDIR',
  'EISDIR',
  'ENOTEMPTY',
  'EINVAL',
  'ELOOP',
  'ENOSPC',
]);
