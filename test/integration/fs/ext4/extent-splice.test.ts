import t from 'tap';
import type { Test } from 'tap';

import { allocateBlocks, freeBlocks, METADATA } from '../../../../src/fs/ext4/allocator.js';
import { encodeIndex, encodeLeaf, sealNode } from '../../../../src/fs/ext4/extent-node.js';
import type { IndexEntry } from '../../../../src/fs/ext4/extent-node.js';
import { spliceExtents, treeBlocksFor } from '../../../../src/fs/ext4/extent-splice.js';
import {
  lastExtents,
  mapExtents,
  treeOf,
  WHOLE_FILE,
} from '../../../../src/fs/ext4/extent-tree.js';
import {
  clipExtents,
  countBlocks,
  cutExtents,
  joinExtents,
  layRuns,
} from '../../../../src/fs/ext4/extent.js';
import type { BlockSpan, Extent } from '../../../../src/fs/ext4/extent.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import type { Inode } from '../../../../src/fs/ext4/inode.js';
import {
  EXTENT_BLOCK_MAX,
  EXTENT_DEPTH_MAX,
  EXTENT_ROOT_MAX,
} from '../../../../src/fs/ext4/layout.js';
import type { Transaction } from '../../../../src/fs/ext4/transaction.js';
import { MIB } from '../../../../src/lib/units.js';
import { fsck } from '../../../support/ext4-image.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { SeededRandom } from '../../../support/seeded-random.js';
import { closeClean, debugfsExtents, newImage, openImage } from './volume-set-up.js';
import type { OpenImage } from './volume-set-up.js';

const COMMANDS = ['mke2fs', 'e2fsck', 'debugfs'];
/** Logical blocks that the file uses. */
const FILE_BLOCKS = 40000;
/** Splices that share a transaction. */
const BATCH = 10;

/** A file whose tree is spliced, and a naive list beside it. */
class SplicedFile {
  model: Extent[] = [];
  readonly #open: OpenImage;
  readonly #number: number;
  readonly #random: SeededRandom;

  constructor(open: OpenImage, number: number, random: SeededRandom) {
    this.#open = open;
    this.#number = number;
    this.#random = random;
  }

  get inode(): Inode {
    return readInode(this.#open.volume, this.#open.volume, this.#number);
  }

  get depth(): number {
    return this.inode.iBlock.readUInt16LE(6);
  }

  /** Splices at random places, mapping more than they unmap or less. */
  async burst(splices: number, { mapped }: { readonly mapped: number }): Promise<void> {
    for (let done = 0; done < splices; done += BATCH) {
      const before = this.model;
      const state = this.#random.below(2 ** 31);
      this.model = await this.#open.volume.transact((txn) => {
        const random = new SeededRandom(state);
        const inode = readInode(txn, this.#open.volume, this.#number);
        let model = before;
        for (let i = 0; i < BATCH; i++) model = this.#splice(txn, inode, { model, random, mapped });
        inode.store(txn);
        return model;
      });
    }
  }

  /** Frees what a span has, and sets the size so that nothing written lies past it. */
  async unmap(span: BlockSpan): Promise<void> {
    const { model } = this;
    this.model = await this.#open.volume.transact((txn) => {
      const inode = readInode(txn, this.#open.volume, this.#number);
      const rest = this.#replace(txn, { inode, model, span }, []);
      inode.store(txn);
      return rest;
    });
  }

  #splice(
    txn: Transaction,
    inode: Inode,
    { model, random, mapped }: { model: Extent[]; random: SeededRandom; mapped: number },
  ): Extent[] {
    const { volume } = this.#open;
    const isMapping = random.below(100) < mapped;
    const width = isMapping ? 1 + random.below(12) : 1 + random.below(300);
    const from = random.below(FILE_BLOCKS - width);
    const span = { from, to: from + width };
    const replacement: Extent[] = [];
    const end = isMapping ? span.to : from;
    for (let at = from; at < end;) {
      const count = Math.min(end - at, 1 + random.below(4));
      // Now right behind what lies before, so that both may join, now somewhere else.
      const last = replacement.at(-1) ?? model.findLast(({ logical }) => logical < at);
      const near = last === undefined ? 0 : last.physical + last.length;
      const goal = random.below(2) === 0 ? near : random.below(volume.superblock.blocksCount);
      const run = allocateBlocks(txn, volume, { goal, count });
      replacement.push(...layRuns([run], at, random.below(3) === 0 ? 'unwritten' : 'written'));
      at += run.count + (random.below(4) === 0 ? 1 : 0);
    }
    return this.#replace(txn, { inode, model, span }, replacement);
  }

  #replace(
    txn: Transaction,
    { inode, model, span }: { inode: Inode; model: readonly Extent[]; span: BlockSpan },
    replacement: readonly Extent[],
  ): Extent[] {
    const { volume } = this.#open;
    const old = clipExtents(model, span);
    for (const { physical, length } of old) {
      freeBlocks(txn, volume, { start: physical, count: length }, METADATA);
    }
    const tree = { source: txn, volume, inode };
    const expected = treeBlocksFor(tree, span, replacement);
    const blocks = inode.blocks + countBlocks(replacement) - countBlocks(old);
    spliceExtents(txn, volume, { inode, span }, replacement);
    const more = inode.blocks - blocks;
    if (more > expected) throw new Error(`${more} tree blocks were taken, not ${expected}`);
    return joinExtents([...cutExtents(model, span), ...replacement]);
  }
}

function check(t: Test, open: OpenImage, file: SplicedFile, what: string): void {
  const { volume } = open;
  const { inode } = file;
  const own = mapExtents(treeOf(volume, volume, inode));
  t.strictSame(joinExtents(own), file.model, `${what}: as the list`);
  t.strictSame(debugfsExtents(open.image, inode.number), own, `${what}: as debugfs has it`);
}

t.test('spliceExtents: as a plain list, from depth 0 to 2 and back', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const seed = testSeed(t);
  const image = newImage(t, ['-J', 'size=8'], 192 * MIB);
  let open = await openImage(image);
  const number = await open.fs.create('spliced');
  await open.fs.truncate(number, FILE_BLOCKS * 4096);
  const random = new SeededRandom(seed);
  let file = new SplicedFile(open, number, random);
  const depths = new Set<number>();
  const phases = [
    { splices: 20, mapped: 100 },
    { splices: 400, mapped: 98 },
    { splices: times(600), mapped: 100 },
    { splices: times(300), mapped: 60 },
    { splices: 400, mapped: 10 },
    { splices: 300, mapped: 100 },
    { splices: 900, mapped: 3 },
  ];
  for (const phase of phases) {
    await file.burst(phase.splices, phase);
    depths.add(file.depth);
    const what = `${phase.splices} splices, ${phase.mapped} of 100 map, depth ${file.depth}`;
    check(t, open, file, what);
    for (let i = 0; i < 20; i++) {
      const from = random.below(FILE_BLOCKS);
      const span = { from, to: from + random.below(500) };
      const tree = treeOf(open.volume, open.volume, file.inode);
      const inside = clipExtents(mapExtents(tree, span), span);
      t.strictSame(joinExtents(inside), clipExtents(file.model, span));
      const last = clipExtents(lastExtents(tree, span), span).at(-1);
      t.equal(
        last === undefined ? undefined : last.logical + last.length,
        endOf(clipExtents(file.model, span).at(-1)),
      );
    }
    await closeClean(t, open);
    // Half-full nodes it would join, as it would those of the kernel's random writes.
    t.notMatch(fsck(image).output, /could be shorter/, 'no level is too many');
    open = await openImage(image);
    const { model } = file;
    file = new SplicedFile(open, number, random);
    file.model = model;
  }
  await file.unmap({ from: 2000, to: Infinity });
  check(t, open, file, 'without the end');
  await file.unmap(WHOLE_FILE);
  depths.add(file.depth);
  t.strictSame(depths, new Set([0, 1, 2]));
  t.equal(file.inode.blocks, 0, 'no tree block is left');
  await closeClean(t, open);
});

function endOf(extent: Extent | undefined): number | undefined {
  return extent === undefined ? undefined : extent.logical + extent.length;
}

t.test('spliceExtents: a full way through a tree of five levels is EUCLEAN', async (t) => {
  if (!requires(t, { commands: COMMANDS })) return;
  const open = await openImage(newImage(t));
  const { volume, fs } = open;
  const number = await fs.create('full');
  const isRefused = volume.transact((txn) => {
    const inode = readInode(txn, volume, number);
    const goal = 0;
    const { start: physical } = allocateBlocks(txn, volume, { goal, count: 1 });
    const added = { logical: 1, physical, length: 1, unwritten: false };
    let child = 0;
    for (let depth = 0; depth < EXTENT_DEPTH_MAX; depth++) {
      const { start } = allocateBlocks(txn, volume, { goal, count: 1 });
      const node = txn.fresh(start);
      if (depth === 0) {
        const leaf = Array.from({ length: EXTENT_BLOCK_MAX }, (_, i) => ({
          ...added,
          logical: 2 * i,
        }));
        encodeLeaf(node, leaf);
      } else encodeIndex(node, fullIndex(EXTENT_BLOCK_MAX, depth, child), depth);
      sealNode(node, inode.checksumSeed);
      child = start;
    }
    const root = fullIndex(EXTENT_ROOT_MAX, EXTENT_DEPTH_MAX, child);
    encodeIndex(inode.iBlock, root, EXTENT_DEPTH_MAX);
    spliceExtents(txn, volume, { inode, span: { from: 1, to: 2 } }, [added]);
  });
  await t.rejects(isRefused, { code: 'EUCLEAN', message: /no room for another extent at depth 5/ });
  await closeClean(t, open);
});

/** Entries of an index node, of which only the first leads anywhere. */
function fullIndex(entries: number, depth: number, child: number): IndexEntry[] {
  return Array.from({ length: entries }, (_, i) => ({
    logical: i === 0 ? 0 : depth * 1000 + i,
    block: child,
  }));
}
