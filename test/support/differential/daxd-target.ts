import { Ext4 } from '../../../src/fs/ext4/ext4.js';
import { closeVolume, openVolume } from '../../../src/fs/ext4/mount-state.js';
import { readNamedInode } from '../../../src/fs/ext4/named-inode.js';
import type { Volume } from '../../../src/fs/ext4/volume.js';
import { systemClock } from '../../../src/lib/clock.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import type { Backing } from '../../../src/media/backing.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { layoutsOf } from '../layouts.js';
import { DAXD_OPERATIONS } from './daxd-operations.js';
import type { Answer, Operation, Outcome, Target } from './operation.js';
import { joinSnapshotExtents } from './snapshot.js';
import type { Snapshot, SnapshotEntry } from './snapshot.js';

const BLOCK = 4096;

/** daxd's ext4 on a mapped image file. */
export class DaxdTarget implements Target {
  readonly #volume: Volume;
  readonly #backing: Backing;
  readonly #fs: Ext4;
  #isOpen = true;

  private constructor(volume: Volume, backing: Backing) {
    this.#volume = volume;
    this.#backing = backing;
    this.#fs = new Ext4(volume);
  }

  /** Mounts an image. */
  static async open(image: string, mode: 'rw' | 'ro' = 'rw'): Promise<DaxdTarget> {
    const readOnly = mode === 'ro';
    const backing = await openBacking(image, { readOnly, log: silentLogger });
    try {
      const range = new BackingRange(backing, 0, backing.sizeBytes);
      const volume = await openVolume(range, {
        readOnly,
        layouts: layoutsOf(),
        log: silentLogger,
        clock: systemClock,
      });
      if (volume.readOnly !== readOnly) {
        await closeVolume(volume);
        throw new Error(`${image} is mounted read-only`);
      }
      return new DaxdTarget(volume, backing);
    } catch (error) {
      await backing.close();
      throw error;
    }
  }

  async run(operation: Operation): Promise<Outcome> {
    const perform = DAXD_OPERATIONS[operation.kind] as (
      fs: Ext4,
      operation: Operation,
    ) => Promise<Answer>;
    try {
      const answer = await perform(this.#fs, operation);
      return answer === undefined ? {} : { answer };
    } catch (error) {
      if (error instanceof DaxdError) return { errno: error.code };
      throw error;
    }
  }

  /** Describes the tree as it is. */
  snapshot(): Snapshot {
    const entries = new Map<string, SnapshotEntry>();
    const known = new Map<number, SnapshotEntry>();
    const visit = (path: string, number: number): void => {
      const entry = { ...(known.get(number) ?? this.#entry(path, number)), path };
      known.set(number, entry);
      entries.set(path, entry);
      if (entry.type !== 'directory') return;
      for (const { name, inode } of this.#fs.readdir(number)) {
        const below = path === '' ? name.toString() : `${path}/${name.toString()}`;
        if (below !== 'lost+found') visit(below, inode);
      }
    };
    visit('', this.#fs.lookup(''));
    const { freeBytes, freeInodes } = this.#fs.statfs();
    return {
      entries,
      freeBlocks: freeBytes / BLOCK,
      freeInodes,
      read: ({ inode }, offset, target) => this.#fs.read(inode, offset, target),
    };
  }

  /** Unmounts, so that e2fsck may look. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#fs.unmount();
    await this.#backing.close();
  }

  #entry(path: string, number: number): SnapshotEntry {
    const fs = this.#fs;
    const { target, device, ...stat } = fs.stat(number);
    const hasMap = stat.type === 'file' || stat.type === 'directory' || stat.type === 'symlink';
    const extents = hasMap ? fs.extents(number) : [];
    return {
      ...stat,
      path,
      sectors: stat.blocks,
      ...(target === undefined ? {} : { target: Buffer.from(target).toString('latin1') }),
      ...(device === undefined ? {} : { device: [device.major, device.minor] }),
      xattrs: fs
        .listXattrs(number)
        .toSorted()
        .map((name) => [name, fs.getXattr(number, name).toString('hex')] as const),
      xattrBlock: readNamedInode(this.#volume, this.#volume, number).fileAcl,
      extents: joinSnapshotExtents(
        extents.map(({ fileOffset, length, unwritten }) => ({
          from: fileOffset,
          to: fileOffset + length,
          unwritten,
        })),
      ),
      fragments: extents.length,
    };
  }
}
