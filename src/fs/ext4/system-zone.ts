import { partitionPoint } from '../../lib/partition-point.js';
import { assert } from '../../lib/assert.js';
import type { BlockRun } from '../block-run.js';
import { damaged } from '../damage.js';

interface NamedRun extends BlockRun {
  readonly name: string;
}

/**
 * The blocks that hold the filesystem's own tables, as the group descriptors say, and its
 * journal. They never move while it is mounted. No file may map them: a hostile image could
 * else have its inode table written as file data.
 *
 * @kernel struct ext4_system_zone, ext4_protect_reserved_inode (fs/ext4/block_validity.c)
 */
export class SystemZone {
  #named: NamedRun[] = [];
  /** Disjoint and ascending, neighbours joined. */
  #runs: BlockRun[] = [];
  #sealed = false;

  /** Adds a table; `name` is for messages. */
  add(start: number, count: number, name: string): void {
    assert(!this.#sealed, 'tables are added before the zone is sealed');
    if (count > 0) this.#named.push({ start, count, name });
  }

  /**
   * Sorts the tables and checks that none lies over another.
   *
   * @throws DaxdError EUCLEAN naming both
   */
  seal(): void {
    assert(!this.#sealed, 'the zone is sealed once');
    this.#sealed = true;
    this.#named.sort((a, b) => a.start - b.start);
    let previous: NamedRun | undefined;
    for (const run of this.#named) {
      if (previous !== undefined && previous.start + previous.count > run.start) {
        throw damaged(`${run.name} lies over ${previous.name}`);
      }
      this.#join(run);
      previous = run;
    }
    this.#named = [];
  }

  /** Whether any block of [start, start + count) belongs to a table. */
  overlaps(start: number, count: number): boolean {
    const run = this.#runs[this.#firstEndingAfter(start)];
    return run !== undefined && run.start < start + count;
  }

  /** The parts of tables inside [start, start + count). */
  *within(start: number, count: number): Generator<BlockRun> {
    const end = start + count;
    for (let i = this.#firstEndingAfter(start); i < this.#runs.length; i++) {
      const run = this.#runs[i];
      if (run === undefined || run.start >= end) return;
      const from = Math.max(run.start, start);
      yield { start: from, count: Math.min(run.start + run.count, end) - from };
    }
  }

  #join(run: BlockRun): void {
    const last = this.#runs.at(-1);
    if (last !== undefined && last.start + last.count === run.start) {
      this.#runs[this.#runs.length - 1] = { start: last.start, count: last.count + run.count };
    } else {
      this.#runs.push({ start: run.start, count: run.count });
    }
  }

  #firstEndingAfter(block: number): number {
    return partitionPoint(this.#runs, ({ start, count }) => start + count <= block);
  }
}
