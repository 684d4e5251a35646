import { SeededRandom } from '../seeded-random.js';
import { ImageMapping, trialBacking } from './disk-image.js';
import type { DiskImage } from './disk-image.js';
import { MANY_GROUPS } from './trial.js';
import { mountTrial } from './workload.js';
import type { Batch, Operation } from './workload.js';

const BLOCK = 4096;
/** So many that their bitmaps, one a group, are more blocks than one transaction changes. */
const GROUPS_OF_A_FILE = 490;

/** Puts two files there whose blocks lie in so many groups, most of them past their ends. */
export async function putSpreadFiles(image: DiskImage): Promise<void> {
  const fs = await mountTrial(trialBacking(new ImageMapping(image)), false);
  for (const [i, path] of ['cut', 'gone'].entries()) {
    const inode = await fs.create(path);
    await fs.write(inode, 0, new SeededRandom(i).bytes(9000));
    const { freeBytes } = fs.statfs();
    const groups = image.bytes.length / BLOCK / MANY_GROUPS.blocksPerGroup;
    const share = GROUPS_OF_A_FILE / (groups - i * GROUPS_OF_A_FILE);
    const length = Math.floor((freeBytes * share) / BLOCK) * BLOCK;
    await fs.fallocate(inode, 0, length, { keepSize: true });
  }
  await fs.unmount();
}

/** A truncate and a removal that take several transactions, and how many each took. */
export function piecesWorkload(commits: Map<string, number>, defer = false): Batch[] {
  const counted = (name: string, path: string, run: Operation['run']): Batch => [
    {
      name,
      touches: [path],
      run: async (fs) => {
        const { latency } = fs.commitCounters;
        const before = latency.count;
        await run(fs);
        commits.set(name, latency.count - before);
      },
    },
  ];
  return [
    counted('truncate', 'cut', (fs) => fs.truncate(fs.lookup('cut'), 1234, { defer })),
    counted('remove', 'gone', (fs) => fs.unlink('gone', { defer })),
  ];
}
