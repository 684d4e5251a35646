import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import { SeededRandom } from '../seeded-random.js';
import { pieceOf } from './scripted-workload.js';
import type { Batch, Operation } from './workload.js';

const BLOCK = 4096;
const NAMES = 60;

/**
 * Blocks of metadata that become file data while the log still holds a copy of them: without
 * a revocation, a recovery puts the old copy over the data, ext4.md 3.4. The filesystem is
 * full, so that what is freed is what is used next.
 */
export function revokeWorkload(): Batch[] {
  return [
    step('mkdir d', ['d'], (fs) => fs.mkdir('d')),
    step('create filler', ['filler'], (fs) => fs.create('filler')),
    step('fill', ['filler'], fillUp),
    ...round(1, 'd'),
    ...extentRound(),
  ];
}

function step(
  name: string,
  touches: readonly string[],
  run: (fs: Ext4) => Promise<unknown>,
): Operation[] {
  return [{ name, touches, run }];
}

/** Takes nearly all free blocks, without a store to them. */
async function fillUp(fs: Ext4): Promise<void> {
  const { freeBytes } = fs.statfs();
  await fs.fallocate(fs.lookup('filler'), 0, freeBytes - 40 * BLOCK, { keepSize: true });
}

/** A directory of many blocks goes, and a file takes its blocks. */
function round(seed: number, directory: string): Operation[][] {
  const names = Array.from({ length: NAMES }, (_, i) => `${directory}/${i}${'n'.repeat(200)}`);
  return [
    names.flatMap((path) => step(`create ${path}`, [path], (fs) => fs.create(path))),
    names.flatMap((path) => step(`unlink ${path}`, [path], (fs) => fs.unlink(path))),
    step(`remove ${directory}`, [directory], (fs) => fs.unlink(directory)),
    step('take its blocks', [`data${seed}`], async (fs) => {
      const { freeBytes } = fs.statfs();
      const content = new SeededRandom(seed).bytes(freeBytes);
      await fs.replace(`data${seed}`, pieceOf(content));
    }),
    step('create touched', ['touched'], (fs) => fs.create('touched')),
    step('free them again', [`data${seed}`], (fs) => fs.unlink(`data${seed}`)),
  ];
}

/** A file's extent blocks go, and another file takes them. */
function extentRound(): Operation[][] {
  return [
    step('create holes', ['holes'], (fs) => fs.create('holes')),
    ...Array.from({ length: 6 }, (_, i) =>
      step(`write extent ${i} of holes`, ['holes'], (fs) =>
        fs.write(fs.lookup('holes'), 2 * i * BLOCK, Buffer.alloc(BLOCK, 1)),
      ),
    ),
    step('remove it', ['holes'], (fs) => fs.unlink('holes')),
    step('take its blocks', ['data2'], async (fs) => {
      const { freeBytes } = fs.statfs();
      await fs.replace('data2', pieceOf(new SeededRandom(2).bytes(freeBytes)));
    }),
  ];
}
