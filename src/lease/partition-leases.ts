import { assert } from '../lib/assert.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import { coalesce } from './byte-ranges.js';
import { IntervalTree } from './interval-tree.js';
import { LeaseRoll } from './lease-roll.js';
import type { Lease } from './lease.js';

/** Raw partitions have no inodes; their pages are kept under a number that no inode has. */
const RAW = 0;

/** The held leases of one partition, found by path and by the pages that they pin. */
export class PartitionLeases {
  /** All of them. */
  readonly roll = new LeaseRoll<Lease>();
  readonly #byPath = new Map<string, LeaseRoll<Lease>>();
  /** Pinned pages by inode, in bytes of the file or raw partition. */
  readonly #pinned = new Map<number, IntervalTree<Lease>>();

  /** Those that were asked for by a path; undefined when there are none. */
  ofPath(path: string): LeaseRoll<Lease> | undefined {
    return this.#byPath.get(path);
  }

  /** Leases that pin a page with a byte of [from, to); one may come twice. Without `inode`: raw ones. */
  overlapping(inode: number | undefined, from: number, to: number): Iterable<Lease> {
    const end = to === Infinity ? to : roundUp(to, PAGE_SIZE);
    return this.#pinned.get(inode ?? RAW)?.overlapping(roundDown(from, PAGE_SIZE), end) ?? [];
  }

  add(lease: Lease): void {
    const { path } = lease.terms;
    this.roll.add(lease);
    if (path !== undefined) {
      let named = this.#byPath.get(path);
      if (named === undefined) this.#byPath.set(path, (named = new LeaseRoll()));
      named.add(lease);
    }
    this.addPages(lease);
  }

  delete(lease: Lease): void {
    const { path } = lease.terms;
    this.roll.delete(lease);
    if (path !== undefined) {
      const named = this.#byPath.get(path);
      assert(named !== undefined, 'a held lease is on the roll of its path');
      named.delete(lease);
      if (named.size === 0) this.#byPath.delete(path);
    }
    this.deletePages(lease);
  }

  /** Takes in the pages that a lease pins. */
  addPages(lease: Lease): void {
    const intervals = pinnedIntervals(lease);
    if (intervals.length === 0) return;
    const inode = lease.terms.inode ?? RAW;
    let tree = this.#pinned.get(inode);
    if (tree === undefined) this.#pinned.set(inode, (tree = new IntervalTree()));
    for (const { offset, length } of intervals) {
      tree.add({ start: offset, end: offset + length, id: lease.id, owner: lease });
    }
  }

  /** Takes the pages of {@link addPages} out, which are the ones that the lease pins still. */
  deletePages(lease: Lease): void {
    const inode = lease.terms.inode ?? RAW;
    const tree = this.#pinned.get(inode);
    for (const { offset } of pinnedIntervals(lease)) {
      assert(tree?.delete(offset, lease.id) === true, 'pinned pages stand in the index');
    }
    if (tree?.size === 0) this.#pinned.delete(inode);
  }
}

/** Neighbours in the file are one interval, wherever they lie on the media. */
function pinnedIntervals(lease: Lease): readonly { offset: number; length: number }[] {
  return coalesce(lease.runs);
}
