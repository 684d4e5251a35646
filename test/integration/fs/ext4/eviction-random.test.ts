import { copyFileSync } from 'node:fs';

import t from 'tap';
import type { Test } from 'tap';

import type { OpenFile } from '../../../../src/fs/ext4/open-file.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { fsck } from '../../../support/ext4-image.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { crashCopy, ORPHAN_KINDS, repair, until } from './orphan-set-up.js';
import { mountImage, ownTree } from './set-up.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
const STEPS = 120;
const CRASHES = 4;

/** A page of some file that is pinned, and by which number it is known. */
interface Pin {
  readonly offset: number;
}

/** Files that come and go while they are open, pinned and cut. */
class Program {
  readonly #open: OpenImage;
  readonly #random: SeededRandom;
  readonly #handles: OpenFile[] = [];
  readonly #pins: Pin[] = [];
  /** Changes that wait for a pinned page. */
  readonly #waits: Promise<unknown>[] = [];

  constructor(open: OpenImage, random: SeededRandom) {
    this.#open = open;
    this.#random = random;
  }

  async step(): Promise<void> {
    const steps = [
      () => this.#write(),
      () => this.#write(),
      () => this.#onNames('link'),
      () => this.#onNames('rename'),
      () => this.#unlink(),
      () => this.#unlink(),
      () => this.#openOne(),
      () => this.#closeOne(),
      () => this.#pinOne(),
      () => this.#unpinOne(),
      () => this.#truncate(),
    ];
    try {
      await this.#random.pick(steps)?.();
    } catch (error) {
      const isExpected =
        error instanceof DaxdError && ['ENOENT', 'EEXIST', 'ENOSPC'].includes(error.code);
      if (!isExpected) throw error;
    }
  }

  /** Lets go of everything, and waits for what that sets free. */
  async end(): Promise<void> {
    for (const handle of this.#handles.splice(0)) await handle.close();
    for (const { offset } of this.#pins.splice(0)) this.#open.unpin(offset, PAGE_SIZE);
    await Promise.allSettled(this.#waits);
    await until(() => this.#open.layouts.size === 0);
  }

  #name(): string {
    return this.#random.pick(NAMES) ?? 'a';
  }

  async #write(): Promise<void> {
    const { fs } = this.#open;
    const name = this.#name();
    const inode = await fs.create(name).catch(() => fs.lookup(name));
    const data = Buffer.alloc(1 + this.#random.below(12 * PAGE_SIZE), name);
    await fs.write(inode, this.#random.below(20 * PAGE_SIZE), data);
  }

  async #onNames(op: 'link' | 'rename'): Promise<void> {
    await this.#open.fs[op](this.#name(), this.#name());
  }

  async #unlink(): Promise<void> {
    await this.#open.fs.unlink(this.#name());
  }

  async #openOne(): Promise<void> {
    const { fs } = this.#open;
    this.#handles.push(fs.open(fs.lookup(this.#name())));
  }

  async #closeOne(): Promise<void> {
    const [handle] = this.#handles.splice(this.#random.below(this.#handles.length + 1), 1);
    await handle?.close();
  }

  async #pinOne(): Promise<void> {
    const { fs, layouts, pin } = this.#open;
    const inode = fs.lookup(this.#name());
    const extent = this.#random.pick(fs.extents(inode));
    if (extent === undefined || layouts.pendingOver(inode, 0, Infinity) !== undefined) return;
    pin(extent.mediaOffset, PAGE_SIZE);
    this.#pins.push({ offset: extent.mediaOffset });
  }

  async #unpinOne(): Promise<void> {
    const [pin] = this.#pins.splice(this.#random.below(this.#pins.length + 1), 1);
    if (pin !== undefined) this.#open.unpin(pin.offset, PAGE_SIZE);
  }

  async #truncate(): Promise<void> {
    const { fs } = this.#open;
    const size = this.#random.below(16 * PAGE_SIZE);
    const cut = fs.truncate(fs.lookup(this.#name()), size);
    // It may wait for a page that only a later step unpins.
    cut.catch(() => {});
    this.#waits.push(cut);
  }
}

/** What comes back of a copy, by daxd and by e2fsck: the same, and clean. */
async function recoverBoth(t: Test, copy: string): Promise<void> {
  const judged = `${copy}.judged`;
  copyFileSync(copy, judged);
  const { first, second } = repair(judged);
  t.ok(first.status <= 1 && second.status === 0, second.output);
  const own = await mountImage(copy);
  const tree = await ownTree(own.fs);
  const { freeBytes } = own.fs.statfs();
  await own.close();
  const verdict = fsck(copy);
  t.equal(verdict.status, 0, verdict.output);
  const theirs = await mountImage(judged);
  t.strictSame(await ownTree(theirs.fs), tree);
  t.equal(theirs.fs.statfs().freeBytes, freeBytes);
  await theirs.close();
}

for (const { kind, args } of ORPHAN_KINDS) {
  t.test(
    `files removed while open, pinned and cut: every crash is recovered, ${kind}`,
    async (t) => {
      if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
      const random = new SeededRandom(testSeed(t));
      const open = await openImage(newImage(t, args, 16 * MIB));
      const free = open.volume.free.blocks;
      const program = new Program(open, random);
      for (let crash = 0; crash < times(CRASHES); crash++) {
        for (let i = 0; i < STEPS / CRASHES; i++) await program.step();
        await recoverBoth(t, crashCopy(open.image));
      }
      await program.end();
      for (const name of NAMES) await open.fs.unlink(name).catch(() => {});
      t.equal(open.volume.free.blocks, free, 'no block is lost');
      t.equal(open.volume.reservations.count, 0);
      await closeClean(t, open);
    },
  );
}
