import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';

import { fsck } from '../../../support/ext4-image.js';
import { survey } from '../../../support/hostile/atlas.js';
import { makeBaseImage, makeDirtyImage } from '../../../support/hostile/base-image.js';
import { GuardedBacking } from '../../../support/hostile/guarded-backing.js';
import { runImages } from '../../../support/hostile/run-images.js';
import { seal } from '../../../support/hostile/seal.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';

/** 20 times as many, and more than 100,000, in `npm run test:long`. */
const IMAGES = times(3000) === 3000 ? 3000 : 100_000;
/** One for a processor, where there are that many images to do. */
const PROCESSES = IMAGES > 3000 ? 2 : 1;

const JUDGES = { commands: ['mke2fs', 'debugfs', 'e2fsck'] };

t.test('the intact images: the checksums of the sealer are those on the media', async (t) => {
  if (!requires(t, JUDGES)) return;
  const base = makeBaseImage(scratchDirectory(t));
  const dirty = await makeDirtyImage(base);
  // Times on the media count seconds: in another one nothing may look different.
  await setTimeout(1_000);
  const again = makeBaseImage(scratchDirectory(t));
  t.ok(again.equals(base), 'made again, they are the same');
  t.ok((await makeDirtyImage(again)).equals(dirty));
  for (const [name, image] of Object.entries({ base, dirty })) {
    const atlas = survey(image);
    for (const structure of atlas.structures) {
      // mke2fs writes a journal that has no checksums yet.
      if (name === 'base' && structure.kind === 'journal superblock') continue;
      const copy = Buffer.from(image);
      seal(copy, atlas, structure);
      t.ok(copy.equals(image), `${name}: ${structure.kind} of ${structure.owner}`);
    }
  }
  const kinds = [...survey(dirty).byKind.keys()];
  t.equal(kinds.length, 12, `every kind of structure: ${kinds.join(', ')}`);
  const path = join(scratchDirectory(t), 'dirty.img');
  writeFileSync(path, dirty);
  t.match(fsck(path).output, /recovery|clean|journal/, 'a log to replay');
});

t.test('the guard: notes an access outside the partition, and a store there', async (t) => {
  const backing = new GuardedBacking(65536);
  const { mapping, partition } = backing;
  const outside = { message: 'an access outside the partition' };
  t.throws(() => mapping.view(partition.start - 1, 1), outside);
  t.throws(() => {
    mapping.write(partition.start + 65536 - 2, Buffer.alloc(3));
  }, outside);
  t.strictSame(backing.trespasses, ['[-1, 0)', '[65534, 65537)']);
  partition.fill(0, 65536, 1);
  t.ok(backing.isCanaryWhole);
  new Uint8Array(backing.image.buffer)[partition.start - 1] = 0;
  t.notOk(backing.isCanaryWhole);
});

t.test(
  'mutated images: no crash, no hang, no access outside, and damage is named',
  { timeout: 7_200_000 },
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const seed = testSeed(t);
    const scratch = scratchDirectory(t);
    const base = makeBaseImage(scratch);
    const bases = [join(scratch, 'base.img'), join(scratch, 'dirty.img')];
    writeFileSync(bases[1] ?? '', await makeDirtyImage(base));

    const share = IMAGES / PROCESSES;
    const reports = await Promise.all(
      Array.from({ length: PROCESSES }, (_, i) =>
        runImages({ bases, seed, first: i * share, end: (i + 1) * share }),
      ),
    );
    for (const { images, defects, codes } of reports) {
      t.comment(`${images} images`, Object.fromEntries(codes));
      t.strictSame(defects, []);
      t.equal(images, share);
      for (const code of ['ok', 'EBADMSG', 'EUCLEAN', 'EOPNOTSUPP']) {
        t.ok((codes.get(code) ?? 0) > images / 50, `${code} came out`);
      }
    }
  },
);
