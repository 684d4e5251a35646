import t from 'tap';
import type { Test } from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../../src/lib/units.js';
import { freedOf } from '../../../support/power-cut/pinned-workload.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { bytesOf, mediaOf } from './quarantine-set-up.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

/**
 * The same random changes on two filesystems: on one pages are pinned and changes defer, on the
 * other nothing is pinned. Files must be the same on both, and what is pinned never free.
 */

const P = PAGE_SIZE;
const FILES = ['a', 'b', 'c'];
const FILE_PAGES = 24;

type Change = (fs: Ext4, path: string, defer: boolean) => Promise<unknown>;

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(bytes);
}

/** A change of a file of some size, with its arguments drawn; how it is called shows in failures. */
function drawChange(random: SeededRandom, size: number): { name: string; run: Change } {
  const offset = random.below(Math.max(1, size));
  const length = 1 + random.below(6 * P);
  const page = random.below(FILE_PAGES) * P;
  const pages = (1 + random.below(3)) * P;
  const bytes = random.bytes(length);
  const to = random.below(FILE_PAGES * P);
  const changes: Readonly<Record<string, Change>> = {
    [`write ${offset} ${length}`]: (fs, path) => fs.write(fs.lookup(path), offset, bytes),
    [`truncate ${to}`]: (fs, path, defer) => fs.truncate(fs.lookup(path), to, { defer }),
    [`punch ${offset} ${length}`]: (fs, path, defer) =>
      fs.punchHole(fs.lookup(path), offset, length, { defer }),
    [`zero ${offset} ${length}`]: (fs, path, defer) =>
      fs.zeroRange(fs.lookup(path), offset, length, { keepSize: false, defer }),
    [`collapse ${page} ${pages}`]: (fs, path, defer) =>
      fs.collapseRange(fs.lookup(path), page, pages, { defer }),
    [`insert ${page} ${pages}`]: (fs, path, defer) =>
      fs.insertRange(fs.lookup(path), page, pages, { defer }),
    [`replace ${length}`]: (fs, path, defer) => fs.replace(path, once(bytes), { defer }),
    [`unlink, replace ${length}`]: async (fs, path, defer) => {
      await fs.unlink(path, { defer });
      await fs.replace(path, once(bytes));
    },
    [`replace, rename over ${length}`]: async (fs, path, defer) => {
      await fs.replace('new', once(bytes));
      await fs.rename('new', path, { defer });
    },
  };
  const [name = '', run = async () => {}] =
    Object.entries(changes)[random.below(Object.keys(changes).length)] ?? [];
  return { name, run };
}

/** Runs a change, and gives the code of its refusal. */
async function outcomeOf(change: Promise<unknown>): Promise<string> {
  try {
    await change;
    return 'done';
  } catch (error) {
    if (error instanceof DaxdError) return error.code;
    throw error;
  }
}

/** Who has pages pinned, and what their devices stored in those that left their files. */
class Holders {
  readonly pinned = new Set<number>();
  readonly #open: OpenImage;
  readonly #random: SeededRandom;
  readonly #stored = new Map<number, Buffer>();

  constructor(open: OpenImage, random: SeededRandom) {
    this.#open = open;
    this.#random = random;
  }

  pinSome(): void {
    const { fs } = this.#open;
    const extents = FILES.flatMap((path) => fs.extents(fs.lookup(path)));
    const written = extents.filter(({ unwritten }) => !unwritten);
    const extent = written[this.#random.below(Math.max(1, written.length))];
    if (extent === undefined) return;
    const pages = extent.length / P;
    const first = this.#random.below(pages);
    for (let page = first; page < Math.min(pages, first + 1 + this.#random.below(4)); page++) {
      const at = extent.mediaOffset + page * P;
      if (this.pinned.has(at)) continue;
      this.#open.pin(at, P);
      this.pinned.add(at);
    }
  }

  /** Lets go of one, which is released where it is quarantined. */
  async unpinOne(): Promise<void> {
    const at = [...this.pinned][this.#random.below(Math.max(1, this.pinned.size))];
    if (at === undefined) return;
    this.#open.unpin(at, P);
    this.pinned.delete(at);
    this.#stored.delete(at);
    if (this.#quarantined().has(at)) await this.#open.fs.quarantine.release(at, P);
  }

  /** Has devices store to what left its file. */
  store(): void {
    for (const at of this.#quarantined()) {
      if (this.#stored.has(at)) continue;
      const bytes = this.#random.bytes(P);
      this.#open.backing.mapping.write(at, bytes);
      this.#stored.set(at, bytes);
    }
  }

  problems(): string[] {
    const { fs } = this.#open;
    const blocks = [...this.pinned].map((at) => at / P);
    const lost = [...this.#stored].filter(([at, bytes]) => !mediaOf(this.#open, at).equals(bytes));
    const shared = FILES.flatMap((path) => fs.extents(fs.lookup(path))).flatMap((extent) =>
      [...this.#quarantined()].filter(
        (at) => extent.mediaOffset <= at && at < extent.mediaOffset + extent.length,
      ),
    );
    return [
      ...freedOf(fs, blocks),
      ...lost.map(([at]) => `${at} was overwritten`),
      ...shared.map((at) => `${at} is a file's and quarantined`),
    ];
  }

  unpinAll(): void {
    for (const at of this.pinned) this.#open.unpin(at, P);
  }

  #quarantined(): Set<number> {
    const runs = this.#open.fs.quarantine.extents();
    return new Set(
      runs.flatMap(({ mediaOffset, length }) =>
        Array.from({ length: length / P }, (_, page) => mediaOffset + page * P),
      ),
    );
  }
}

async function runRound(t: Test, random: SeededRandom): Promise<number> {
  const plain = await openImage(newImage(t));
  const open = await openImage(newImage(t));
  const holders = new Holders(open, random);
  for (const path of FILES) {
    const bytes = random.bytes(FILE_PAGES * P - random.below(P));
    for (const { fs } of [plain, open]) await fs.replace(path, once(bytes));
  }
  let quarantined = 0;
  const told: string[] = [];
  for (let i = 0; i < 120; i++) {
    if (random.below(2) === 0) holders.pinSome();
    if (random.below(4) === 0) await holders.unpinOne();
    const path = FILES[random.below(FILES.length)] ?? 'a';
    const { name, run } = drawChange(random, plain.fs.stat(plain.fs.lookup(path)).size);
    const before = open.fs.quarantine.bytes;
    const codes = [
      await outcomeOf(run(plain.fs, path, false)),
      await outcomeOf(run(open.fs, path, true)),
    ];
    if (open.fs.quarantine.bytes > before) quarantined++;
    holders.store();
    told.push(`${path}: ${name}: ${codes.join(', ')}`);
    const isSame = FILES.every((one) =>
      bytesOf(plain, plain.fs.lookup(one)).equals(bytesOf(open, open.fs.lookup(one))),
    );
    const problems = [...holders.problems(), ...(isSame ? [] : ['the files differ'])];
    if (codes[0] !== codes[1]) problems.push('only one refuses');
    if (problems.length === 0) continue;
    t.fail(`${problems.slice(0, 4).join('; ')} after\n${told.slice(-8).join('\n')}`);
    break;
  }
  holders.unpinAll();
  t.equal(open.volume.reservations.count, 0);
  await closeClean(t, plain);
  await closeClean(t, open);
  return quarantined;
}

t.test('random changes that defer: the same files, and no pinned block is lost', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'debugfs'] })) return;
  const random = new SeededRandom(testSeed(t));
  let quarantined = 0;
  for (let round = 0; round < times(4) && t.passing(); round++) {
    quarantined += await runRound(t, random);
  }
  t.ok(quarantined > 20, `${quarantined} changes quarantined something`);
});
