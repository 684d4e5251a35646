import type { Layouts } from '../../../src/dax/layouts.js';
import { mountExt4 } from '../../../src/fs/ext4/ext4.js';
import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import type { Clock } from '../../../src/lib/clock.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import type { Backing } from '../../../src/media/backing.js';
import { layoutsOf } from '../layouts.js';
import type { SeededRandom } from '../seeded-random.js';
import type { DiskImage } from './disk-image.js';
import { PowerLog, unloggedPages } from './power-log.js';
import { readTree } from './tree.js';
import type { Tree } from './tree.js';

/** One change of the filesystem, and what it may change. */
export interface Operation {
  readonly name: string;
  /** Paths that it makes, changes or removes, with everything below them. */
  readonly touches: readonly string[];
  /**
   * Stores over bytes that the file has, and so a cut may leave old lines among new ones: up
   * to the commit, as a write does, or after it too, as where the edges of a hole are zeroed.
   */
  readonly torn?: 'before the commit' | 'around the commit';
  readonly run: (fs: Ext4) => Promise<unknown>;
}

/** Operations that run at the same time, on files of their own; or a new mount. */
export type Batch = readonly Operation[] | 'remount';

/** The batches of a workload; the tree says what there is to be changed. */
export type Workload = Iterable<Batch> | ((tree: () => Tree) => Iterable<Batch>);

/** What a batch did. */
interface RecordedBatch {
  readonly operations: readonly Operation[];
  readonly before: Tree;
  readonly after: Tree;
}

/** A workload as the media saw it. */
export interface Recording {
  readonly before: DiskImage;
  readonly log: PowerLog;
  readonly batches: readonly RecordedBatch[];
}

/** A clock that stands still: what two recoveries of the same state write is the same. */
export const stillClock: Clock = {
  nowMs: () => 1000,
  wallMs: () => 1_700_000_000_000,
  setTimer: () => () => {},
};

/** Mounts as the daemon does, by default without pages that can be pinned. */
export async function mountTrial(
  backing: Backing,
  readOnly: boolean,
  layouts: Layouts = layoutsOf(),
): Promise<Ext4> {
  const range = new BackingRange(backing, 0, backing.sizeBytes);
  return await mountExt4(range, {
    readOnly,
    layouts,
    log: silentLogger,
    clock: stillClock,
  });
}

/** What {@link record} is told. */
export interface RecordOptions {
  readonly random: SeededRandom;
  /** What the media hold as a tree, where that takes a recovery to see. */
  readonly tree?: Tree;
  /** Over pages that are pinned. */
  readonly layouts?: Layouts;
}

/** Mounts, runs a workload and unmounts, over media that log everything. */
export async function record(
  before: DiskImage,
  workload: Workload,
  { random, tree, layouts }: RecordOptions,
): Promise<Recording> {
  const log = new PowerLog(before.copy(), random);
  const recorder = new Recorder(log, tree ?? (await treeOf(log.backing)), layouts);
  await recorder.mount();
  const batches = typeof workload === 'function' ? workload(() => recorder.tree) : workload;
  for (const batch of batches) {
    if (batch === 'remount') {
      await recorder.unmount();
      await recorder.mount();
    } else {
      await recorder.run(batch);
    }
  }
  await recorder.unmount();
  const unlogged = unloggedPages(log, before);
  if (unlogged.length > 0) throw new Error(`stores past the log at ${unlogged.join(', ')}`);
  return { before, log, batches: recorder.batches };
}

/** The tree of a filesystem that was unmounted, or recovered by others, without a change of it. */
export async function treeOf(backing: Backing, look: (fs: Ext4) => void = () => {}): Promise<Tree> {
  const fs = await mountTrial(backing, true);
  const tree = readTree(fs);
  look(fs);
  await fs.unmount();
  return tree;
}

class Recorder {
  readonly batches: RecordedBatch[] = [];
  readonly #log: PowerLog;
  readonly #layouts: Layouts | undefined;
  #fs: Ext4 | undefined;
  #tree: Tree;

  constructor(log: PowerLog, tree: Tree, layouts: Layouts | undefined) {
    this.#log = log;
    this.#layouts = layouts;
    this.#tree = tree;
  }

  get tree(): Tree {
    return this.#tree;
  }

  async mount(): Promise<void> {
    const mount = async (): Promise<void> => {
      this.#fs = await mountTrial(this.#log.backing, false, this.#layouts);
      if (this.#fs.readOnly) throw new Error('the filesystem is mounted read-only');
    };
    await this.#record([{ name: 'mount', touches: [], run: mount }]);
  }

  async unmount(): Promise<void> {
    await this.#record([{ name: 'unmount', touches: [], run: async (fs) => await fs.unmount() }]);
    this.#fs = undefined;
  }

  async run(operations: readonly Operation[]): Promise<void> {
    await this.#record(operations);
  }

  async #record(operations: readonly Operation[]): Promise<void> {
    const before = this.#tree;
    const batch = this.batches.length;
    const { events } = this.#log;
    await Promise.all(
      operations.map(async ({ run, name }, operation) => {
        events.push({ kind: 'start', batch, operation });
        try {
          await run(this.#fs as Ext4);
        } catch (cause) {
          throw new Error(`${name} failed`, { cause });
        }
        events.push({ kind: 'settled', batch, operation });
      }),
    );
    if (operations[0]?.name !== 'unmount') this.#tree = readTree(this.#fs as Ext4);
    this.batches.push({ operations, before, after: this.#tree });
  }
}
