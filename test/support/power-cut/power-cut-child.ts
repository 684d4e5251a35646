import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { SeededRandom } from '../seeded-random.js';
import { explore, newTally } from './explorer.js';
import { messageOf } from './recoverers.js';
import { restartWorkload } from './restart-workload.js';
import { revokeWorkload } from './revoke-workload.js';
import { scriptedWorkload } from './scripted-workload.js';
import { makeTrial } from './trial.js';
import { record } from './workload.js';
import type { Batch } from './workload.js';

/** Runs the power cuts of one workload, and prints what they came to as one line of JSON. */
async function main([
  kind = '',
  seed = '',
  directory = '',
  oneIn = '1',
]: readonly string[]): Promise<void> {
  const random = new SeededRandom(Number(seed));
  const scratch = mkdtempSync(join(directory, 'trial-'));
  const tally = newTally();
  // Only without an orphan file does the list of orphans begin in the superblock.
  const trial = await makeTrial(scratch, kind === 'restart' ? 'mke2fs' : 'mke2fs, orphan file');
  let error: string | undefined;
  try {
    const recording = await record(trial.image, workloadOf(kind), { random });
    const { windows } = trial;
    await explore(recording, trial.recoverers, tally, {
      random,
      windows,
      // Of a mount and an unmount alone there are few places to cut.
      subsets: kind === 'mount' ? 20 : 2,
      oneIn: Number(oneIn),
      failuresMax: 1,
    });
  } catch (cause) {
    error = messageOf(cause);
  } finally {
    trial.recoverers.close();
    rmSync(scratch, { recursive: true });
  }
  const { cutPoints, failures } = tally;
  process.stdout.write(`${JSON.stringify({ cutPoints, failures, error })}\n`);
}

function workloadOf(kind: string): Batch[] {
  if (kind === 'mount') return [];
  if (kind === 'restart') return restartWorkload(40);
  return kind === 'revoke' ? revokeWorkload() : scriptedWorkload();
}

await main(process.argv.slice(2));
