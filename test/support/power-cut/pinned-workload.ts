import { Layouts } from '../../../src/dax/layouts.js';
import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { pinUserPages } from '../../../src/mm/gup.js';
import { mapPages } from '../../unit/mm/set-up.js';
import { layoutsOf } from '../layouts.js';
import { SeededRandom } from '../seeded-random.js';
import { ImageMapping, trialBacking } from './disk-image.js';
import type { DiskImage } from './disk-image.js';
import { pieceOf } from './scripted-workload.js';
import { mountTrial } from './workload.js';
import type { Batch, Operation } from './workload.js';

/** Pages that somebody has pinned all the while. */
export interface Pins {
  readonly layouts: Layouts;
  /** Their blocks. */
  readonly blocks: ReadonlySet<number>;
}

const PAGES = 40;

/** Files for {@link pinnedWorkload}, and which of their pages are pinned. */
const PINNED: Readonly<Record<string, readonly number[]>> = {
  cut: [3, 5, 6, 20, 39],
  grown: [39],
  holed: [2, 3, 9, 12],
  gone: [0, 1, 30],
  covered: [7],
  swapped: [0, 11, 12, 13],
  zeroed: [1, 2, 3, 9],
  shorter: [4, 6, 30],
  longer: [0, 20, 21],
};

/** Puts files there. */
export async function putPinnedFiles(image: DiskImage): Promise<void> {
  const fs = await mountTrial(trialBacking(new ImageMapping(image)), false);
  for (const [i, path] of Object.keys(PINNED).entries()) {
    const inode = await fs.create(path);
    await fs.write(inode, 0, new SeededRandom(i).bytes(PAGES * PAGE_SIZE));
    if (path === 'grown') await fs.truncate(inode, PAGES * PAGE_SIZE - 1000);
  }
  await fs.write(await fs.create('other'), 0, new SeededRandom(99).bytes(5000));
  await fs.unmount();
}

/** Pins pages of files in an image, given by their numbers in each. */
export async function pinPages(
  image: DiskImage,
  pagesOf: Readonly<Record<string, readonly number[]>> = PINNED,
): Promise<Pins> {
  const { memremap, pgmap, waiters } = await mapPages({ pages: image.bytes.length / PAGE_SIZE });
  const fs = await mountTrial(trialBacking(new ImageMapping(image.copy())), true);
  const blocks = new Set<number>();
  for (const [path, pages] of Object.entries(pagesOf)) {
    for (const page of pages) {
      const [extent] = fs.extents(fs.lookup(path), page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      if (extent === undefined) throw new Error(`${path} has no page ${page}`);
      blocks.add(extent.mediaOffset / PAGE_SIZE);
    }
  }
  await fs.unmount();
  for (const block of blocks) pinUserPages(memremap, block, 1);
  return { layouts: layoutsOf({ pgmap, waiters }), blocks };
}

/** Every change that defers, over pages that are pinned; both edges are, where there are any. */
export function pinnedWorkload(): Batch[] {
  const defer = true;
  return [
    step('cut', ['cut'], (fs) => fs.truncate(fs.lookup('cut'), 5 * PAGE_SIZE + 77, { defer })),
    step('grow', ['grown'], (fs) => {
      return fs.truncate(fs.lookup('grown'), 50 * PAGE_SIZE, { defer });
    }),
    step('punch', ['holed'], (fs) => {
      return fs.punchHole(fs.lookup('holed'), 2 * PAGE_SIZE + 9, 10 * PAGE_SIZE, { defer });
    }),
    [
      {
        name: 'zero',
        touches: ['zeroed'],
        // In two transactions: what is pinned, then the rest.
        torn: 'around the commit',
        run: (fs) => {
          const range = { keepSize: true, defer };
          return fs.zeroRange(fs.lookup('zeroed'), PAGE_SIZE + 64, 8 * PAGE_SIZE, range);
        },
      },
    ],
    step('collapse', ['shorter'], (fs) => {
      return fs.collapseRange(fs.lookup('shorter'), 3 * PAGE_SIZE, 2 * PAGE_SIZE, { defer });
    }),
    step('insert', ['longer'], (fs) => {
      return fs.insertRange(fs.lookup('longer'), 10 * PAGE_SIZE, 3 * PAGE_SIZE, { defer });
    }),
    step('unlink', ['gone'], (fs) => fs.unlink('gone', { defer })),
    'remount',
    [
      { name: 'cover', touches: ['other', 'covered'], run: coverBy('other') },
      {
        name: 'swap',
        touches: ['swapped'],
        run: (fs) => fs.replace('swapped', pieceOf(Buffer.alloc(7000, 0xee)), { defer }),
      },
    ],
    step('new file', ['new'], async (fs) => {
      return await fs.replace('new', pieceOf(Buffer.alloc(300_000, 0xaa)));
    }),
  ];
}

function step(name: string, touches: readonly string[], run: Operation['run']): Operation[] {
  return [{ name, touches, run }];
}

function coverBy(path: string): Operation['run'] {
  return (fs) => fs.rename(path, 'covered', { defer: true });
}

/** Which of some blocks are free: in no file, and not quarantined either. One line each. */
export function freedOf(fs: Ext4, blocks: Iterable<number>): string[] {
  const runs = [...fs.quarantine.extents()];
  const visit = (inode: number): void => {
    const { type } = fs.stat(inode);
    if (type === 'file') runs.push(...fs.extents(inode));
    if (type !== 'directory') return;
    for (const { inode: child } of fs.readdir(inode)) visit(child);
  };
  visit(fs.lookup(''));
  const isOwned = (at: number): boolean =>
    runs.some(({ mediaOffset, length }) => mediaOffset <= at && at < mediaOffset + length);
  return [...blocks]
    .filter((block) => !isOwned(block * PAGE_SIZE))
    .map((block) => `block ${block} is pinned and free`);
}
