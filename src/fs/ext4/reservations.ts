import { assert } from '../../lib/assert.js';
import { clearBits, setBits } from './bitmap.js';
import { BLOCK_SIZE } from './layout.js';

/**
 * Blocks that are free on the media and yet not to be handed out: data is being written
 * there before the metadata names it, or the transaction that freed them is not durable.
 * In memory only: after a crash they are simply free.
 */
export class Reservations {
  readonly #blocksPerGroup: number;
  readonly #groups = new Map<number, { readonly bits: Buffer; count: number }>();
  #count = 0;

  constructor(blocksPerGroup: number) {
    this.#blocksPerGroup = blocksPerGroup;
  }

  /** Blocks kept in all. */
  get count(): number {
    return this.#count;
  }

  /** The kept blocks of a group as a bitmap; undefined when there are none. */
  bits(group: number): Buffer | undefined {
    const known = this.#groups.get(group);
    return known === undefined || known.count === 0 ? undefined : known.bits;
  }

  /** Keeps blocks, none of which is kept yet. */
  add(start: number, count: number): void {
    this.#eachGroup(start, count, (group, first, length) => {
      const known = this.#groups.get(group) ?? { bits: Buffer.alloc(BLOCK_SIZE), count: 0 };
      assert(setBits(known.bits, first, length) === length, 'a block is reserved once');
      known.count += length;
      this.#groups.set(group, known);
    });
    this.#count += count;
  }

  /** Lets kept blocks go. */
  remove(start: number, count: number): void {
    this.#eachGroup(start, count, (group, first, length) => {
      const known = this.#groups.get(group);
      assert(known !== undefined, 'only reserved blocks are let go');
      assert(clearBits(known.bits, first, length) === length, 'only reserved blocks are let go');
      // The bitmap stays: the next one to write here takes blocks of the same group.
      known.count -= length;
    });
    this.#count -= count;
  }

  /** Runs `visit` for the part of [start, start + count) in each group. */
  #eachGroup(
    start: number,
    count: number,
    visit: (group: number, first: number, length: number) => void,
  ): void {
    for (let block = start; block < start + count;) {
      const first = block % this.#blocksPerGroup;
      const length = Math.min(start + count - block, this.#blocksPerGroup - first);
      visit(Math.floor(block / this.#blocksPerGroup), first, length);
      block += length;
    }
  }
}
