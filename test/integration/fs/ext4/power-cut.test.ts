import t from 'tap';
import type { Test } from 'tap';

import { describeTally, explore, newTally } from '../../../support/power-cut/explorer.js';
import type { ExploreOptions, Tally } from '../../../support/power-cut/explorer.js';
import { randomWorkload } from '../../../support/power-cut/random-workload.js';
import { restartWorkload } from '../../../support/power-cut/restart-workload.js';
import { revokeWorkload } from '../../../support/power-cut/revoke-workload.js';
import { scriptedWorkload } from '../../../support/power-cut/scripted-workload.js';
import { putSpreadFiles, piecesWorkload } from '../../../support/power-cut/pieces-workload.js';
import { MANY_GROUPS, trialFor } from '../../../support/power-cut/trial.js';
import type { TrialKind } from '../../../support/power-cut/trial.js';
import { record } from '../../../support/power-cut/workload.js';
import type { Workload } from '../../../support/power-cut/workload.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { SeededRandom } from '../../../support/seeded-random.js';

/**
 * Power cuts: daxd's stores are recorded, cut at every place, and recovered by daxd, by
 * e2fsck and now and then by the kernel. The numbers in the titles are the checks of the
 * design paper: 19 every boundary, 20 stores torn at 8 bytes.
 */

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount', 'umount'], root: true };
const KINDS = ['mke2fs, orphan file', 'daxd', 'mke2fs'] as const satisfies TrialKind[];
/** Of all tests of this file; of `npm run test:long` many times as many. */
const CUT_POINTS_MIN = 1500;

let cutPoints = 0;

/** How {@link cutOn} cuts. */
interface CutOptions extends Omit<ExploreOptions, 'windows' | 'random'> {
  readonly kind: TrialKind;
  readonly seed: number;
  /** How many workloads, one after the other; 1 by default. */
  readonly rounds?: number;
}

/** Records workloads on one kind of filesystem, cuts them everywhere, and prints the counts. */
async function cutOn(
  t: Test,
  workload: (random: SeededRandom) => Workload,
  { kind, seed, rounds = 1, ...options }: CutOptions,
): Promise<Tally> {
  const random = new SeededRandom(seed);
  const { image, windows, recoverers } = await trialFor(t, kind);
  const tally = newTally();
  for (let round = 0; round < rounds && tally.failures.length === 0; round++) {
    const recording = await record(image, workload(random), { random });
    await explore(recording, recoverers, tally, { ...options, random, windows });
  }
  t.comment(`${kind}: ${describeTally(tally)}`);
  t.comment(`e2fsck -fn after ${recoverers.runs.e2fsckChecks} recoveries that differ`);
  t.strictSame(tally.failures, [], 'every cut is recovered to before or after');
  cutPoints += tally.cutPoints;
  return tally;
}

t.test('ext4.md 7.19: cuts at every boundary of a scripted workload', async (t) => {
  if (!requires(t, JUDGES)) return;
  const seed = testSeed(t);
  for (const kind of KINDS) {
    await t.test(kind, async (t) => {
      const isFirst = kind === KINDS[0];
      await cutOn(t, scriptedWorkload, {
        kind,
        seed,
        subsets: isFirst ? times(3) : times(1),
        oneIn: isFirst ? 2 : 4,
        kernelOneIn: 20,
        useOneIn: 8,
      });
    });
  }
});

t.test('ext4.md 7.19: cuts of random workloads, one by one and together', async (t) => {
  if (!requires(t, JUDGES)) return;
  const seed = testSeed(t);
  for (const [i, kind] of KINDS.entries()) {
    await t.test(kind, async (t) => {
      await cutOn(t, (random) => randomWorkload(random, 16), {
        kind,
        seed: seed + i,
        rounds: times(1),
        subsets: 3,
        oneIn: times(1) > 1 ? 3 : 4,
        kernelOneIn: 20,
        useOneIn: 8,
      });
    });
  }
});

t.test(
  'ext4.md 7.19: metadata that becomes data: older copies in the log stay there',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    await cutOn(t, revokeWorkload, {
      kind: 'mke2fs, orphan file',
      seed: testSeed(t),
      subsets: times(1),
      oneIn: 3,
      kernelOneIn: 20,
    });
  },
);

t.test('ext4.md 7.19: a log that goes round, with orphans all the while', async (t) => {
  if (!requires(t, JUDGES)) return;
  const seed = testSeed(t);
  const oneIn = times(1) > 1 ? 4 : 80;
  for (const kind of ['mke2fs', 'mke2fs, orphan file'] satisfies TrialKind[]) {
    const options = { kind, seed, subsets: 2, oneIn, kernelOneIn: 20 };
    await cutOn(t, () => restartWorkload(40), options);
  }
});

t.test('ext4.md 3.7: a truncate and a removal that take several transactions', async (t) => {
  if (!requires(t, JUDGES)) return;
  const random = new SeededRandom(testSeed(t));
  for (const kind of ['mke2fs', 'mke2fs, orphan file'] satisfies TrialKind[]) {
    await t.test(kind, async (t) => {
      const { image, windows, recoverers } = await trialFor(t, kind, MANY_GROUPS);
      await putSpreadFiles(image);
      const commits = new Map<string, number>();
      const tally = newTally();
      const recording = await record(image, piecesWorkload(commits), { random });
      const oneIn = times(1) > 1 ? 1 : 3;
      const options = { random, windows, subsets: 1, oneIn, kernelOneIn: 20, useOneIn: 20 };
      await explore(recording, recoverers, tally, options);
      t.comment(describeTally(tally));
      t.strictSame(tally.failures, [], 'every cut is recovered to before or after');
      cutPoints += tally.cutPoints;
      for (const [name, count] of commits) t.ok(count > 1, `${name} took ${count} transactions`);
      const { orphansCleared, orphansTruncated } = recoverers.runs;
      t.ok(orphansTruncated > 0, `e2fsck found it half cut ${orphansTruncated} times`);
      t.ok(orphansCleared > 0, `and half removed ${orphansCleared} times`);
    });
  }
});

t.test('ext4.md 7.20: stores torn at 8 bytes', async (t) => {
  if (!requires(t, JUDGES)) return;
  const seed = testSeed(t);
  const words = { words: true, kernelOneIn: 20, useOneIn: 20 };
  await t.test('scripted workload', async (t) => {
    const kind = 'mke2fs, orphan file';
    const { refused } = await cutOn(t, scriptedWorkload, {
      ...words,
      kind,
      seed,
      subsets: times(1),
      oneIn: 2,
    });
    t.ok([...refused.keys()].length > 0, 'the kernel refuses some, and e2fsck repairs all');
  });
  await t.test('random workload', async (t) => {
    const options = { ...words, seed, rounds: times(1), subsets: 1, oneIn: 4 };
    await cutOn(t, (random) => randomWorkload(random, 16), { ...options, kind: 'daxd' });
  });
  await t.test('mount and unmount', async (t) => {
    for (const kind of KINDS) await cutOn(t, () => [], { ...words, kind, seed, subsets: times(5) });
  });
});

t.test('together they are enough', async (t) => {
  if (!requires(t, JUDGES)) return;
  const least = times(1) > 1 ? 20_000 : CUT_POINTS_MIN;
  t.ok(cutPoints >= least, `${cutPoints} cut points, at least ${least}`);
});
