import { assert } from '../../lib/assert.js';

/**
 * Where a file stands whose last name is gone, from the transaction that took the name on:
 *
 *     waiting --no handle, no pinned page--> evicting --its inode is freed--> (forgotten)
 *
 * While it waits it is read and changed by its number; after that its number means nothing.
 */
type Nameless = 'waiting' | 'evicting';

/**
 * Which files somebody has open, and which of all files lost their last name and are kept
 * because of that, or because of pinned pages. In memory alone: on the media the orphan list
 * says the same for whoever mounts next.
 *
 * @kernel struct inode, i_count (linux/fs.h)
 */
export class OpenFiles {
  /** Handles by inode; none are 0. */
  readonly #handles = new Map<number, number>();
  readonly #nameless = new Map<number, Nameless>();

  /** Inodes without a name that wait for their eviction. */
  get waiting(): number[] {
    return [...this.#nameless].flatMap(([inode, state]) => (state === 'waiting' ? [inode] : []));
  }

  /** Whether a handle keeps the inode. */
  isOpen(inode: number): boolean {
    return this.#handles.has(inode);
  }

  /** Whether an inode without links is a file still, for those who have its number. */
  isReachable(inode: number): boolean {
    return this.#nameless.get(inode) === 'waiting';
  }

  /** Whether an inode lost its last name, and is not freed yet. */
  isNameless(inode: number): boolean {
    return this.#nameless.has(inode);
  }

  /** Counts a handle. */
  opened(inode: number): void {
    this.#handles.set(inode, (this.#handles.get(inode) ?? 0) + 1);
  }

  /** Counts a handle off; true when it was the last one of a file without a name. */
  closed(inode: number): boolean {
    const handles = this.#handles.get(inode);
    assert(handles !== undefined, 'a file is closed as often as it was opened');
    if (handles > 1) {
      this.#handles.set(inode, handles - 1);
      return false;
    }
    this.#handles.delete(inode);
    return this.#nameless.get(inode) === 'waiting';
  }

  /** Notes that the last name is gone, in the turn in which the media show it. */
  nameGone(inode: number): void {
    assert(!this.#nameless.has(inode), 'a file loses its last name once');
    this.#nameless.set(inode, 'waiting');
  }

  /** Notes that blocks are about to be freed: the number leads to the file no longer. */
  evicting(inode: number): void {
    assert(this.isReachable(inode), 'a file is evicted once its last name is gone');
    this.#nameless.set(inode, 'evicting');
  }

  /** Forgets an inode that is freed, in the turn in which somebody else may take its number. */
  evicted(inode: number): void {
    this.#nameless.delete(inode);
  }
}
