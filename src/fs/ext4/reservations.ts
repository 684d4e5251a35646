import { assert } from '../../lib/assert.js';
import { groupParts } from '../block-run.js';
import type { BlockRun } from '../block-run.js';
import { clearBits, setBits } from './bitmap.js';
import { BLOCK_SIZE } from './layout.js';

/**
 * Blocks that are free on the media and yet not to be handed out: data is being written
 * there before the metadata names it, or the transaction that freed them is not durable.
 * In memory only: after a crash they are simply free.
 */
export class Reservations {
  readonly #geometry: { readonly blocksPerGroup: number };
  readonly #groups = new Map<number, { readonly bits: Buffer; count: number }>();
  #count = 0;

  constructor(geometry: { readonly blocksPerGroup: number }) {
    this.#geometry = geometry;
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
  add(run: BlockRun): void {
    for (const { group, first, count } of groupParts(this.#geometry, run)) {
      const known = this.#groups.get(group) ?? { bits: Buffer.alloc(BLOCK_SIZE), count: 0 };
      assert(setBits(known.bits, first, count) === count, 'a block is reserved once');
      known.count += count;
      this.#groups.set(group, known);
    }
    this.#count += run.count;
  }

  /** Lets kept blocks go. */
  remove(run: BlockRun): void {
    for (const { group, first, count } of groupParts(this.#geometry, run)) {
      const known = this.#groups.get(group);
      assert(known !== undefined, 'only reserved blocks are let go');
      assert(clearBits(known.bits, first, count) === count, 'only reserved blocks are let go');
      // The bitmap stays: the next one to write here takes blocks of the same group.
      known.count -= count;
    }
    this.#count -= run.count;
  }
}
