import { assert } from '../../lib/assert.js';
import { damaged } from '../damage.js';
import { indexLevels, IndexTable } from './htree.js';

/** The blocks of an indexed directory, verified before they are shown. */
export interface IndexBlocks {
  /** Blocks in the directory. */
  readonly count: number;
  /** Inode of the directory, for messages. */
  readonly directory: number;
  /** Root or node of the index, by its logical number. */
  index(logical: number): Buffer;
  /** A block of names. */
  leaf(logical: number): Buffer;
}

/** One index block on the way to a leaf. */
export interface IndexStep {
  readonly logical: number;
  readonly table: IndexTable;
  /** The pair of the table that the way goes through. */
  readonly at: number;
}

/**
 * The way from the root of an index to one leaf. It holds as long as the index stays as it
 * is: within one synchronous stretch, until something is inserted.
 *
 * Each level is one step, and there are two at most, so no loop in damaged tables is followed.
 */
export class IndexWalk {
  readonly #blocks: IndexBlocks;
  #steps: IndexStep[];
  #leavesLeft: number;

  /**
   * Goes to the first leaf that may hold names of `hash`.
   *
   * @throws DaxdError EUCLEAN, EBADMSG for an index block on the way
   * @kernel dx_probe (fs/ext4/namei.c)
   */
  constructor(blocks: IndexBlocks, hash: number) {
    this.#blocks = blocks;
    // All but the root and the leaf that the walk begins with.
    this.#leavesLeft = blocks.count - 2;
    const root = blocks.index(0);
    const table = new IndexTable(root, 0);
    const top = { logical: 0, table, at: table.search(hash) };
    this.#steps = [top];
    if (indexLevels(root) === 0) return;
    const node = this.#nodeBelow(top);
    this.#steps.push({ ...node, at: node.table.search(hash) });
  }

  /** From the root on. */
  get steps(): readonly IndexStep[] {
    return this.#steps;
  }

  /** Logical number of the leaf. */
  get leaf(): number {
    return this.#last.table.child(this.#last.at);
  }

  /**
   * Goes to the next leaf in order of the hashes.
   *
   * @returns the hash from which on the index says that names stand there, with bit 0 where
   *   the leaf before has names of the same hash; undefined at the end
   * @throws DaxdError EUCLEAN where the index names more leaves than there are blocks
   * @kernel ext4_htree_next_block (fs/ext4/namei.c)
   */
  next(): number | undefined {
    const last = this.#last;
    const [top] = this.#steps;
    assert(top !== undefined, 'a walk begins at the root');
    if (last.at + 1 < last.table.count) {
      this.#countLeaf();
      this.#steps = [...this.#steps.slice(0, -1), { ...last, at: last.at + 1 }];
      return last.table.hash(last.at + 1);
    }
    if (last === top || top.at + 1 >= top.table.count) return undefined;
    this.#countLeaf();
    const right = { ...top, at: top.at + 1 };
    this.#steps = [right, { ...this.#nodeBelow(right), at: 0 }];
    return right.table.hash(right.at);
  }

  get #last(): IndexStep {
    const last = this.#steps.at(-1);
    assert(last !== undefined, 'a walk begins at the root');
    return last;
  }

  /** A node, whose hashes lie within what the root says. */
  #nodeBelow({ table: root, at }: IndexStep): Omit<IndexStep, 'at'> {
    const logical = root.child(at);
    const table = new IndexTable(this.#blocks.index(logical), logical);
    const isInRange =
      table.count === 1 ||
      (table.hash(1) >= root.hash(at) &&
        (at + 1 === root.count || table.hash(table.count - 1) <= root.hash(at + 1)));
    if (!isInRange) this.#fail(`the hashes of index block ${logical} belong to another block`);
    return { logical, table };
  }

  #countLeaf(): void {
    if (this.#leavesLeft === 0) this.#fail('the index names a block more than once');
    this.#leavesLeft--;
  }

  #fail(what: string): never {
    throw damaged(`directory inode ${this.#blocks.directory}: ${what}`);
  }
}

/** Whether the leaf that {@link IndexWalk.next} went to goes on with names of `hash`. */
export function continuesHash(boundary: number | undefined, hash: number): boolean {
  return boundary !== undefined && (boundary & ~1) >>> 0 === hash;
}
