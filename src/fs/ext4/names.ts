import type { BrokenLayout } from '../../dax/broken-layout.js';
import { leaveOf } from './allocator.js';
import { fillNode, modeOfNode } from './device-node.js';
import type { SpecialNode } from './device-node.js';
import type { Evictions, NamelessFile } from './evictions.js';
import type { Inode } from './inode.js';
import { tryBreakFileLayouts } from './layout-break.js';
import { readNamedInode, resolve } from './named-inode.js';
import {
  addInode,
  FILE_MODE,
  linkName,
  makeDirectory,
  makeSymlink,
  removeName,
  renameName,
} from './namei.js';
import type { LeaveOf } from './namei.js';
import { parsePath } from './path.js';
import { encodeTarget } from './symlink.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** How a name is taken from what has it. */
export interface RemoveOptions {
  /** Has pinned blocks of a file that loses its last name go into the quarantine. */
  readonly defer?: boolean | undefined;
}

/** How a name is moved. */
export interface RenameOptions extends RemoveOptions {
  /** Refuses to move over what is there. */
  readonly noReplace?: boolean | undefined;
}

/** A change that may take the last name of a file. */
interface Removal extends Pick<NamelessFile, 'op' | 'path' | 'defer'> {
  /** What loses a name, as a source shows it. */
  readonly victim: (source: BlockSource) => Inode | undefined;
  /** Gives the inode that has no name now, unless it is freed already. */
  readonly body: (txn: Transaction, leave: LeaveOf) => Inode | undefined;
}

/** Changes of names, each durable when it settles. None waits for a pinned page. */
export class Names {
  readonly #volume: Volume;
  readonly #evictions: Evictions;

  constructor(volume: Volume, evictions: Evictions) {
    this.#volume = volume;
    this.#evictions = evictions;
  }

  /** Makes an empty file. @throws DaxdError EEXIST, also for a symlink, and what `addInode` throws */
  async create(path: string): Promise<number> {
    return await this.#add(path, FILE_MODE, () => {});
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

  /** Makes a device, fifo or socket. @throws DaxdError EINVAL, EEXIST and what `addInode` throws */
  async mknod(path: string, node: SpecialNode): Promise<number> {
    return await this.#add(path, modeOfNode(node), (inode) => {
      fillNode(inode, node);
    });
  }

  /** Adds a name for what has one. @throws DaxdError as {@link linkName} does */
  async link(from: string, to: string): Promise<void> {
    const paths = { from: parsePath(from), to: parsePath(to) };
    await this.#volume.transact((txn) => {
      linkName(txn, this.#volume, paths);
    });
  }

  /** Removes a name. What it was the last name of is freed, now or when nobody needs it. */
  async unlink(path: string, { defer }: RemoveOptions = {}): Promise<void> {
    const parts = parsePath(path);
    const volume = this.#volume;
    await this.#remove({
      op: 'unlink',
      path,
      defer,
      victim: (source) => findInode(source, volume, parts),
      body: (txn, leave) => removeName(txn, volume, parts, leave),
    });
  }

  /** Moves a name; what it replaces goes as with {@link unlink}. */
  async rename(
    from: string,
    to: string,
    { noReplace = false, defer }: RenameOptions,
  ): Promise<void> {
    const move = { from: parsePath(from), to: parsePath(to), noReplace };
    const volume = this.#volume;
    await this.#remove({
      op: 'rename',
      path: to,
      defer,
      victim: (source) => {
        // First: of two paths that lead nowhere Linux names the one from which is moved.
        findInode(source, volume, move.from);
        return findInode(source, volume, move.to);
      },
      body: (txn, leave) => renameName(txn, volume, move, leave),
    });
  }

  async #add(path: string, mode: number, fill: (inode: Inode) => void): Promise<number> {
    const parts = parsePath(path);
    return await this.#volume.transact((txn) => {
      const end = resolve(txn, this.#volume, parts, { follow: false });
      return addInode(txn, this.#volume, { end, mode }, fill);
    });
  }

  /**
   * Runs a change that may take a file's last name. Where nobody has that file open or its
   * pages pinned, its blocks go in the same transaction; otherwise, and where they are too
   * many for one, the file goes to the orphan list, and its blocks as soon as they can. One
   * that defers waits for no pinned page, but for whoever has the file open.
   */
  async #remove(removal: Removal): Promise<void> {
    const volume = this.#volume;
    volume.assertWritable();
    if (removal.defer === true) volume.quarantine.assertAvailable();
    const before = losingBlocks(removal.victim(volume));
    // What is pinned of a file with a block map cannot leave it: it is waited for.
    const defer = removal.defer === true && before?.hasBlockMap !== true;
    const layout = before && this.#tryBreak({ ...removal, defer }, before);
    const commit = async (): Promise<NamelessFile | undefined> => {
      const inode = await volume.transact((txn) =>
        removal.body(txn, (lost) => leaveOf(lost, this.#layoutFor(lost, before, layout))),
      );
      return inode && { inode: inode.number, op: removal.op, path: removal.path, defer };
    };
    let left: NamelessFile | undefined;
    if (before === undefined || layout === undefined) {
      left = await commit();
    } else {
      try {
        left = await volume.withInode(before.number, async () => {
          const file = await commit();
          if (file?.inode === before.number) await this.#evictions.finish(file, layout);
          return file;
        });
      } finally {
        layout.lift();
      }
    }
    this.#evictions.resume();
    if (left !== undefined) await this.#evictions.start(left);
    if (defer) await volume.quarantine.told();
  }

  #tryBreak({ op, path, defer }: Removal, { number: inode }: Inode): BrokenLayout | undefined {
    const volume = this.#volume;
    if (volume.openFiles.isOpen(inode) || volume.isInodeBusy(inode)) return undefined;
    return tryBreakFileLayouts(volume, { op, inode, path, from: 0, to: Infinity, defer });
  }

  /** The layout that was broken, if it is this file's, and nobody has opened it since. */
  #layoutFor(
    lost: Inode,
    before: Inode | undefined,
    layout: BrokenLayout | undefined,
  ): BrokenLayout | undefined {
    const isSame = lost.number === before?.number && lost.generation === before.generation;
    return isSame && !this.#volume.openFiles.isOpen(lost.number) ? layout : undefined;
  }
}

/** What a path names, the last symlink not followed; undefined where only the last name is missing. */
function findInode(
  source: BlockSource,
  volume: Volume,
  parts: readonly Buffer[],
): Inode | undefined {
  const { inode } = resolve(source, volume, parts, { follow: false });
  return inode === undefined ? undefined : readNamedInode(source, volume, inode);
}

/** The inode itself where the loss of one name frees blocks that may be lent. */
function losingBlocks(inode: Inode | undefined): Inode | undefined {
  return inode?.type === 'file' && inode.linksCount === 1 ? inode : undefined;
}
