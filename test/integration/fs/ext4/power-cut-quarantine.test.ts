import t from 'tap';

import { PAGE_SIZE } from '../../../../src/lib/units.js';
import { describeTally, explore, newTally } from '../../../support/power-cut/explorer.js';
import { piecesWorkload, putSpreadFiles } from '../../../support/power-cut/pieces-workload.js';
import {
  freedOf,
  pinnedWorkload,
  pinPages,
  putPinnedFiles,
} from '../../../support/power-cut/pinned-workload.js';
import { MANY_GROUPS, trialFor } from '../../../support/power-cut/trial.js';
import { record } from '../../../support/power-cut/workload.js';
import type { Operation } from '../../../support/power-cut/workload.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { SeededRandom } from '../../../support/seeded-random.js';

/**
 * Power cuts of changes that defer. Wherever one comes, and whoever recovers, each block that
 * was pinned is in its file or in the quarantine: never free.
 */

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount', 'umount'], root: true };

for (const kind of ['mke2fs, orphan file', 'daxd', 'mke2fs'] as const) {
  t.test(`every change that defers, cut at every boundary: ${kind}`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const random = new SeededRandom(testSeed(t));
    const { image, windows, recoverers } = await trialFor(t, kind);
    await putPinnedFiles(image);
    const { layouts, blocks } = await pinPages(image);
    recoverers.look = (fs) => freedOf(fs, blocks);
    const recording = await record(image, pinnedWorkload(), { random, layouts });
    const tally = newTally();
    // The kernel's mounts take most of the time.
    const kernelOneIn = times(1) > 1 ? 10 : 25;
    const options = { random, windows, subsets: times(2), kernelOneIn, useOneIn: 8 };
    await explore(recording, recoverers, tally, options);
    t.comment(describeTally(tally));
    t.strictSame(tally.failures, [], 'before or after, and no pinned block is free');
    t.ok(tally.cutPoints > 100, `${tally.cutPoints} cut points`);
  });
}

t.test('a truncate and a removal that take several transactions', async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  const { image, windows, recoverers } = await trialFor(t, 'mke2fs, orphan file', MANY_GROUPS);
  await putSpreadFiles(image);
  const spread = Array.from({ length: 60 }, (_, i) => 700 * i);
  const { layouts, blocks } = await pinPages(image, { cut: spread, gone: spread });
  recoverers.look = (fs) => freedOf(fs, blocks);
  const commits = new Map<string, number>();
  const workload = piecesWorkload(commits, true);
  const recording = await record(image, workload, { random, layouts });
  const tally = newTally();
  const options = { random, windows, subsets: 1, kernelOneIn: 60, useOneIn: 20 };
  await explore(recording, recoverers, tally, options);
  t.comment(describeTally(tally));
  t.strictSame(tally.failures, [], 'before or after, and no pinned block is free');
  for (const [name, count] of commits) t.ok(count > 1, `${name} took ${count} transactions`);
  t.ok(recoverers.runs.orphansTruncated > 0, 'some cuts left it half done');
});

t.test('control: a truncate that knows of no pin is found out', async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  const { image, windows, recoverers } = await trialFor(t, 'daxd');
  await putPinnedFiles(image);
  const { blocks } = await pinPages(image);
  recoverers.look = (fs) => freedOf(fs, blocks);
  const cut: Operation = {
    name: 'cut',
    touches: ['cut'],
    run: (fs) => fs.truncate(fs.lookup('cut'), PAGE_SIZE, { defer: true }),
  };
  const recording = await record(image, [[cut]], { random });
  const tally = newTally();
  await explore(recording, recoverers, tally, { random, windows, subsets: 1, failuresMax: 1 });
  t.match(tally.failures, [/block \d+ is pinned and free/]);
});
