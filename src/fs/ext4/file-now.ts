import { blocksAround } from './byte-span.js';
import { mapExtents, treeOf } from './extent-tree.js';
import { clipExtents } from './extent.js';
import { fileExtents } from './file-read.js';
import type { FileExtent } from './file-read.js';
import { assertInPlace } from './in-place.js';
import type { Inode, InodeType } from './inode.js';
import type { Volume } from './volume.js';

/** A file, directory or other inode as it is now: good for one synchronous stretch. */
export class FileNow {
  readonly #volume: Volume;
  readonly #inode: Inode;

  constructor(volume: Volume, inode: Inode) {
    this.#volume = volume;
    this.#inode = inode;
  }

  /** Its number. */
  get inode(): number {
    return this.#inode.number;
  }

  /** Tells files apart that had the same inode one after the other. */
  get generation(): number {
    return this.#inode.generation;
  }

  get type(): InodeType {
    return this.#inode.type;
  }

  /** In bytes. */
  get size(): number {
    return this.#inode.size;
  }

  /** As {@link assertInPlace}, of what holds the bytes [from, to). */
  assertLendable(from: number, to: number): void {
    if (this.#volume.replayed.size === 0) return;
    const span = blocksAround({ from, to });
    const extents = mapExtents(treeOf(this.#volume, this.#volume, this.#inode), span);
    assertInPlace(this.#volume, this.inode, clipExtents(extents, span));
  }

  /** See {@link fileExtents}. */
  extents(from: number, to: number): FileExtent[] {
    return fileExtents(this.#volume, this.#inode, from, to);
  }
}
