import type { BrokenLayout } from '../../dax/broken-layout.js';
import type { LayoutOp } from '../../dax/layout-change.js';
import type { Inode } from './inode.js';
import { changeLayout } from './layout-break.js';
import type { Change } from './layout-break.js';
import { readNamedInode, resolve } from './named-inode.js';
import { addInode, makeDirectory, makeSymlink, removeName, renameName } from './namespace.js';
import { parsePath } from './path.js';
import { FILE_MODE } from './put-file.js';
import { encodeTarget } from './symlink.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** Answer of a body that found another file than the one it had waited for. */
const OTHER_VICTIM: unique symbol = Symbol('other victim');

/** Changes of names, each durable when it settles, and with the waits that it needs. */
export class Names {
  readonly #volume: Volume;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Makes an empty file. @throws DaxdError EEXIST, also for a symlink, and what `addInode` throws */
  async create(path: string): Promise<number> {
    const parts = parsePath(path);
    return await this.#volume.transact((txn) => {
      const end = resolve(txn, this.#volume, parts, { follow: false });
      return addInode(txn, this.#volume, { end, mode: FILE_MODE }, () => {});
    });
  }

  /** Makes a directory. @throws DaxdError EEXIST, EMLINK, and what `addInode` throws */
  async mkdir(path: string): Promise<number> {
    const parts = parsePath(path);
    return await this.#volume.transact((txn) => makeDirectory(txn, this.#volume, parts));
  }

  /** Makes a symlink; nothing has to be at its target. */
  async symlink(path: string, target: string): Promise<number> {
    const parts = parsePath(path);
    const bytes = encodeTarget(target);
    return await this.#volume.transact((txn) => makeSymlink(txn, this.#volume, parts, bytes));
  }

  /** Removes a name; with the last name of a file it first waits until no page of it is pinned. */
  async unlink(path: string, change: Change): Promise<void> {
    const parts = parsePath(path);
    const volume = this.#volume;
    const victim = (source: BlockSource): Inode | undefined => inodeAt(source, volume, parts);
    await this.#removing('unlink', { path, ...change }, victim, (txn, leave) => {
      removeName(txn, volume, parts, leave);
    });
  }

  /** Moves a name; where it replaces the last name of a file, waits as {@link unlink} does. */
  async rename(from: string, to: string, change: Change): Promise<void> {
    const paths = { from: parsePath(from), to: parsePath(to) };
    const volume = this.#volume;
    const victim = (source: BlockSource): Inode | undefined => {
      const moved = inodeAt(source, volume, paths.from);
      const replaced = inodeAt(source, volume, paths.to);
      // A directory replaces no file: that is refused without a wait.
      if (moved?.type === 'directory' || replaced?.number === moved?.number) return undefined;
      return moved && replaced;
    };
    await this.#removing('rename', { path: to, ...change }, victim, (txn, leave) => {
      renameName(txn, volume, paths, leave);
    });
  }

  /**
   * Runs a change that may take a file's last name. The wait comes first and changes nothing;
   * after it the names may be others, so everything is looked up again within the change, and
   * if by now another file would lose its name, that one is waited for. Each round is owed to
   * another change that was made meanwhile.
   */
  async #removing(
    op: LayoutOp,
    change: Change,
    victimOf: (source: BlockSource) => Inode | undefined,
    body: (txn: Transaction, leave: BrokenLayout | undefined) => void,
  ): Promise<void> {
    const volume = this.#volume;
    for (;;) {
      volume.assertWritable();
      const victim = losingBlocks(victimOf(volume));
      const commit = async (layout?: BrokenLayout): Promise<typeof OTHER_VICTIM | undefined> =>
        await volume.transact((txn) => {
          const now = losingBlocks(victimOf(txn));
          if (now !== undefined && !isSame(now, victim)) return OTHER_VICTIM;
          body(txn, layout);
          return undefined;
        });
      const inode = victim?.number;
      const outcome =
        inode === undefined
          ? await commit()
          : await changeLayout(volume, { ...change, op, inode, from: 0, to: Infinity }, commit);
      if (outcome !== OTHER_VICTIM) return;
    }
  }
}

/** What a path names, the last symlink not followed; undefined where only the last name is missing. */
function inodeAt(source: BlockSource, volume: Volume, parts: readonly Buffer[]): Inode | undefined {
  const { inode } = resolve(source, volume, parts, { follow: false });
  return inode === undefined ? undefined : readNamedInode(source, volume, inode);
}

/** The inode itself where the loss of one name frees blocks that may be lent. */
function losingBlocks(inode: Inode | undefined): Inode | undefined {
  return inode?.type === 'file' && inode.linksCount === 1 ? inode : undefined;
}

/** Whether a number still stands for the same file: a reused inode has another generation. */
function isSame(a: Inode, b: Inode | undefined): boolean {
  return a.number === b?.number && a.generation === b.generation;
}
