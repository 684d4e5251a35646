/**
 * Which inode stands before another one on the list of orphans, as it was when the list last
 * changed: to be believed where that one's link says the same. It saves the walk, and is whole
 * for a mounted volume, for the mount learns the list.
 */
export class OrphanLinks {
  readonly #before = new Map<number, number>();

  /** The inode that stood before another one; undefined for the first, and for what is not known. */
  before(number: number): number | undefined {
    return this.#before.get(number);
  }

  /** Notes that an inode stands right behind another one. */
  link(before: number, number: number): void {
    this.#before.set(number, before);
  }

  /** Notes that an inode left the list from between two others, or from its head. */
  unlink(number: number, before: number | undefined, next: number): void {
    this.#before.delete(number);
    if (before === undefined) this.#before.delete(next);
    else this.#before.set(next, before);
  }
}
