import t from 'tap';

import { CONTROLS } from '../../../support/power-cut/controls.js';
import { Mutants } from '../../../support/power-cut/mutant.js';
import { testSeed } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';

/**
 * Negative controls: the product made wrong in a copy, in ways that only a power cut shows.
 * What does not catch them proves nothing about the product as it is.
 */

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount', 'umount'], root: true };

t.test('each way to be wrong that a power cut shows is caught', async (t) => {
  if (!requires(t, JUDGES)) return;
  const seed = testSeed(t);
  const mutants = new Mutants(scratchDirectory(t));
  await t.test('a text that is not there fails', async (t) => {
    const nowhere = { file: 'src/fs/jbd2/journal.ts', text: 'not there', instead: '' };
    await t.rejects(
      mutants.run({ workload: 'scripted', seed, mutations: [nowhere] }),
      /holds "not there" 0 times/,
    );
  });
  await t.test('the product as it is passes', async (t) => {
    const run = await mutants.run({ workload: 'revoke', seed, mutations: [], oneIn: 8 });
    t.strictSame(run.failures, []);
    t.equal(run.error, undefined);
    t.ok(run.cutPoints > 20, `${run.cutPoints} cut points`);
  });
  for (const { name, workload, mutations, oneIn } of CONTROLS) {
    await t.test(name, async (t) => {
      const { cutPoints, failures, error } = await mutants.run({
        workload,
        seed,
        mutations,
        oneIn,
      });
      t.equal(error, undefined, 'the workload itself does not fail');
      t.ok(failures.length > 0, `caught within ${cutPoints} cut points`);
      t.comment(`caught after ${cutPoints} cut points: ${failures[0]?.slice(0, 300)}`);
    });
  }
});
