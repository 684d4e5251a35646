import { writeFileSync } from 'node:fs';
import { mkdir, open, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import { makeImage, runJudge, withLoopMount } from '../../../support/ext4-image.js';
import { cutsOf } from '../../../support/power-cut/cuts.js';
import { DiskImage } from '../../../support/power-cut/disk-image.js';
import { describeTally, explore, newTally } from '../../../support/power-cut/explorer.js';
import { Recoverers } from '../../../support/power-cut/recoverers.js';
import type { Recovered } from '../../../support/power-cut/recoverers.js';
import { scriptedWorkload } from '../../../support/power-cut/scripted-workload.js';
import { isSameTree } from '../../../support/power-cut/tree.js';
import type { Tree } from '../../../support/power-cut/tree.js';
import { trialFor } from '../../../support/power-cut/trial.js';
import type { TrialKind } from '../../../support/power-cut/trial.js';
import { record } from '../../../support/power-cut/workload.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { SeededRandom } from '../../../support/seeded-random.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount', 'umount'], root: true };

/** The tree, when the recoverer had nothing to say. */
function treeBy(t: Test, who: string, { tree, problems, refusal }: Recovered): Tree {
  t.strictSame(problems, [], `${who} finds nothing wrong`);
  t.equal(refusal, undefined, `${who} refuses nothing`);
  return tree ?? new Map();
}

t.test('ext4.md 7.18: what is committed and not in its place yet is replayed by all', async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  const { image, windows, recoverers } = await trialFor(t, 'mke2fs, orphan file');
  const recording = await record(image, scriptedWorkload(), { random });
  const media = image.copy();
  let committed = 0;
  for (const cut of cutsOf(recording, media, { random, windows, subsets: 0 })) {
    const { before, after } = cut.situation;
    // Nothing in place, and something to be done there.
    if (cut.lines.length > 0 || cut.pendingLines === 0 || isSameTree(before, after)) continue;
    media.begin();
    const replayed = await recoverers.journalOnly(media);
    if (replayed.tree !== undefined && isSameTree(replayed.tree, after)) {
      committed++;
      treeBy(t, 'e2fsck -E journal_only', replayed);
      const own = treeBy(t, 'daxd', await recoverers.own(media, { durable: cut.durable }));
      t.ok(isSameTree(own, after), `daxd: ${cut.name}`);
      media.rollback();
      media.begin();
      if (committed % 4 === 0) {
        const kernel = treeBy(t, 'the kernel', await recoverers.kernel(media));
        t.ok(isSameTree(kernel, after), `the kernel: ${cut.name}`);
      }
    }
    media.rollback();
  }
  t.ok(committed >= 20, `${committed} transactions were committed and not in their place`);
});

t.test("ext4.md 7.22: power cuts inside daxd's own recovery", async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  const every = times(1) > 1 ? 1 : 20;
  for (const kind of ['mke2fs, orphan file', 'mke2fs'] satisfies TrialKind[]) {
    const { image, windows, recoverers } = await trialFor(t, kind);
    const recording = await record(image, scriptedWorkload(), { random });
    const media = image.copy();
    const tally = newTally();
    let recoveries = 0;
    let next = random.below(every);
    for (const cut of cutsOf(recording, media, { random, windows, subsets: 1, oneIn: 8 })) {
      if (next-- > 0) continue;
      next = every - 1;
      media.begin();
      for (const { offset, bytes } of cut.lines) media.put(offset, bytes);
      const dirty = media.copy();
      const own = await recoverers.own(media, { durable: cut.durable });
      media.rollback();
      const tree = treeBy(t, `daxd, ${cut.name}`, own);
      const recovery = await record(dirty, [], { random, tree });
      const wasTorn = cut.torn.length > 0;
      const options = { random, windows, subsets: 1, oneIn: 2, wasTorn };
      await explore(recovery, recoverers, tally, options);
      recoveries++;
    }
    t.comment(`${kind}: ${recoveries} recoveries: ${describeTally(tally)}`);
    t.strictSame(tally.failures, [], 'a recovery that was cut is done again');
    t.ok(tally.cutPoints >= 40, `${tally.cutPoints} cut points`);
  }
});

/** Keeps the kernel's filesystem busy, with metadata that becomes data. */
async function keepBusy(directory: string, random: SeededRandom): Promise<void> {
  for (let i = 0; i < 30; i++) {
    const path = join(directory, `${i}`);
    await mkdir(path);
    for (let j = 0; j < 40; j++) writeFileSync(join(path, `${j}${'n'.repeat(60)}`), `${j}`);
    if (i % 3 > 0) await rm(path, { recursive: true });
    const file = await open(join(directory, `data ${i}`), 'w');
    await file.writeFile(random.bytes(1 + random.below(200_000)));
    await file.sync();
    await file.close();
    if (i % 4 === 0) await unlink(join(directory, `data ${i}`));
  }
}

t.test('ext4.md 7.21: a log that the kernel left is replayed as e2fsck replays it', async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  const directory = scratchDirectory(t);
  const sizeBytes = 64 * MIB;
  const recoverers = new Recoverers(directory, sizeBytes);
  t.teardown(() => {
    recoverers.close();
  });
  for (const features of ['', ',orphan_file,metadata_csum_seed', ',^64bit']) {
    for (let i = 0; i < times(1); i++) {
      const path = join(directory, 'kernel');
      makeImage(path, sizeBytes, ['-J', 'size=4', '-O', `has_journal${features}`]);
      let image = new DiskImage(sizeBytes);
      await withLoopMount(path, 'commit=300', async (mounted) => {
        await keepBusy(mounted, random);
        const held = await open(join(mounted, 'held'), 'w');
        await held.writeFile('unlinked and open');
        await unlink(join(mounted, 'held'));
        runJudge('sync', ['-f', mounted]);
        image = DiskImage.fromFile(path);
        await held.close();
      });
      t.equal(image.bytes.readUInt32LE(1024 + 0x60) & 4, 4, 'the log is not empty');
      const theirs = treeBy(t, 'e2fsck -fy', await recoverers.fsck(image, false));
      image.begin();
      const ours = treeBy(t, 'daxd', await recoverers.own(image, { durable: 0n }));
      image.rollback();
      t.ok(theirs.size > 400, `${theirs.size} paths`);
      t.ok(isSameTree(ours, theirs), `mke2fs -O has_journal${features}: the same tree`);
    }
  }
});
