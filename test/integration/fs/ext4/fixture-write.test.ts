import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';
import { fsck, kernelTree, withLoopMount } from '../../../support/ext4-image.js';
import { unpackKernelNamespace } from '../../../support/fixture.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { mountImage, ownTree } from './set-up.js';

/** Partition 1 of the fixture: dataoff, then the start in its GPT. */
const START_BYTES = 6291456 + MIB;
const SIZE_BYTES = 64 * MIB;

async function* pieces(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(MIB, 'new content ');
}

/** What lies around the partition: info block, GPT, the other partition. */
function digestAround(image: string): string {
  const bytes = readFileSync(image);
  const digest = createHash('sha256').update(bytes.subarray(0, START_BYTES));
  return digest.update(bytes.subarray(START_BYTES + SIZE_BYTES)).digest('hex');
}

t.test(
  'the fixture, written to: clean, the kernel reads the same, nothing around it changes',
  async (t) => {
    if (!requires(t, { commands: ['e2fsck', 'mount'], root: true })) return;
    const image = join(scratchDirectory(t), 'fixture.img');
    await unpackKernelNamespace(image);
    const around = digestAround(image);
    const { fs, close } = await mountImage(image, {
      startBytes: START_BYTES,
      sizeBytes: SIZE_BYTES,
    });
    await fs.truncate(fs.lookup('big.txt'), 1_000_000);
    await fs.punchHole(fs.lookup('prealloc.bin'), 4096, MIB);
    await fs.write(fs.lookup('prealloc.bin'), 3 * MIB + 5, Buffer.from('written'));
    await fs.unlink('hello.txt');
    for (let i = 0; i < 300; i += 3) {
      await fs.unlink(`dir/sub/file-${String(i).padStart(4, '0')}.txt`);
    }
    await fs.mkdir('dir/new');
    await fs.rename('dir/sub', 'dir/new/sub');
    await fs.rename('dir/new/sub/file-0001.txt', 'dir/soft');
    await fs.replace('dir/hard', pieces());
    await fs.replace('fresh', pieces());
    const ours = await ownTree(fs);
    await close();

    t.match(fsck(`${image}?offset=${START_BYTES}`), { status: 0 });
    await withLoopMount(image, `ro,offset=${START_BYTES},sizelimit=${SIZE_BYTES}`, (directory) => {
      t.strictSame(kernelTree(directory), ours);
    });
    t.equal(digestAround(image), around);
  },
);
