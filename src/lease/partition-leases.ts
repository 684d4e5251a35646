import { assert } from '../lib/assert.js';
import { groupBy } from '../lib/group-by.js';
import { pagesAround } from './byte-ranges.js';
import { IntervalNodes } from './interval-nodes.js';
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
  #ofFiles = 0;
  /** Pinned pages by inode, in bytes of the file or raw partition. */
  readonly #pinned = new Map<number, IntervalTree<Lease>>();
  readonly #nodes = new IntervalNodes<Lease>();

  /** How many of them stand on files. */
  get ofFiles(): number {
    return this.#ofFiles;
  }

  /** Those that were asked for by a path; undefined when there are none. */
  ofPath(path: string): LeaseRoll<Lease> | undefined {
    return this.#byPath.get(path);
  }

  /** Leases that pin a page with a byte of [from, to); one may come twice. Without `inode`: raw ones. */
  overlapping(inode: number | undefined, from: number, to: number): Iterable<Lease> {
    const pages = pagesAround({ from, to });
    return this.#pinned.get(inode ?? RAW)?.overlapping(pages.from, pages.to) ?? [];
  }

  add(lease: Lease): void {
    const { path } = lease.terms;
    this.roll.add(lease);
    if (path !== undefined) {
      this.#rollOf(path).add(lease);
      this.#ofFiles++;
    }
    this.addPages(lease);
  }

  /** Takes in the first leases, ascending by id: much faster than one by one. */
  restore(leases: readonly Lease[]): void {
    this.roll.restore(leases);
    for (const [path, theirs] of groupBy(leases, ({ terms }) => terms.path)) {
      if (path === undefined) continue;
      this.#rollOf(path).restore(theirs);
      this.#ofFiles += theirs.length;
    }
    for (const [inode, theirs] of groupBy(leases, ({ terms }) => terms.inode ?? RAW)) {
      this.#treeOf(inode).build(theirs);
    }
  }

  delete(lease: Lease): void {
    const { path } = lease.terms;
    this.roll.delete(lease);
    if (path !== undefined) {
      const named = this.#byPath.get(path);
      assert(named !== undefined, 'a held lease is on the roll of its path');
      named.delete(lease);
      this.#ofFiles--;
      if (named.size === 0) this.#byPath.delete(path);
    }
    this.deletePages(lease);
  }

  /** Takes in the pages that a lease pins. */
  addPages(lease: Lease): void {
    const inode = lease.terms.inode ?? RAW;
    lease.eachPinned((offset, length) => {
      this.#treeOf(inode).add({ offset, length }, lease);
    });
  }

  /** Takes the pages of {@link addPages} out, which are the ones that the lease pins still. */
  deletePages(lease: Lease): void {
    const inode = lease.terms.inode ?? RAW;
    const tree = this.#pinned.get(inode);
    lease.eachPinned((offset) => {
      assert(tree?.delete(offset, lease) === true, 'pinned pages stand in the index');
    });
    if (tree?.size === 0) this.#pinned.delete(inode);
  }

  #rollOf(path: string): LeaseRoll<Lease> {
    let named = this.#byPath.get(path);
    if (named === undefined) this.#byPath.set(path, (named = new LeaseRoll()));
    return named;
  }

  #treeOf(inode: number): IntervalTree<Lease> {
    let tree = this.#pinned.get(inode);
    if (tree === undefined) this.#pinned.set(inode, (tree = new IntervalTree(this.#nodes)));
    return tree;
  }
}
