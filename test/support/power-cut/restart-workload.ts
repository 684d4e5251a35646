import type { OpenFile } from '../../../src/fs/ext4/open-file.js';
import { pieceOf } from './scripted-workload.js';
import type { Batch, Operation } from './workload.js';

const DIRECTORIES = 12;

/**
 * Directories made and removed, so often that the smallest log goes round a few times; and from
 * beginning to end two files without a name that are open, then one, then none.
 */
export function restartWorkload(rounds: number): Batch[] {
  const open = new Map<string, OpenFile>();
  const batches: Batch[] = ['kept', 'closed'].flatMap((path) => [
    [step('replace', path, (fs) => fs.replace(path, pieceOf(Buffer.alloc(50_000, 1))))],
    [
      step('unlink the open', path, async (fs) => {
        open.set(path, fs.open(fs.lookup(path)));
        await fs.unlink(path);
      }),
    ],
  ]);
  for (let round = 0; round < rounds; round++) {
    const paths = Array.from({ length: DIRECTORIES }, (_, i) => `${i}${'n'.repeat(200)}`);
    batches.push(
      paths.map((path) => step(`mkdir ${round}`, path, (fs) => fs.mkdir(path))),
      paths.map((path) => step(`remove ${round}`, path, (fs) => fs.unlink(path))),
    );
    const close = { [rounds - 2]: 'kept', [Math.floor(rounds / 2)]: 'closed' }[round];
    if (close !== undefined) {
      batches.push([
        { name: `close ${close}`, touches: [], run: async () => open.get(close)?.close() },
      ]);
    }
  }
  return batches;
}

function step(name: string, path: string, run: Operation['run']): Operation {
  return { name: `${name} ${path.slice(0, 6)}`, touches: [path], run };
}
