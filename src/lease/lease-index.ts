import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import { coalesce } from './byte-ranges.js';
import { IntervalTree } from './interval-tree.js';
import { LeaseRoll } from './lease-roll.js';
import type { HeldState } from './lease-state.js';
import type { Lease } from './lease.js';
import {
  HOLDERS_NAMED_MAX,
  LIST_LEASES_DEFAULT,
  LIST_LEASES_MAX,
  LIST_SCAN_MAX,
} from './limits.js';

/** Which held leases to list; all conditions hold together. */
export interface LeaseFilter {
  readonly partition?: string | undefined;
  /** As it was given when the lease was asked for. */
  readonly path?: string | undefined;
  readonly state?: HeldState | undefined;
  /** The `nextCursor` of the page before. */
  readonly cursor?: string | undefined;
  /** From 1 to LIST_LEASES_MAX, which larger ones become. */
  readonly limit?: number | undefined;
}

/** A page of a listing, ascending by id. */
export interface LeasePage {
  readonly leases: readonly Lease[];
  /** There while leases are left to look at; a page may be short, even empty, before that. */
  readonly nextCursor?: string;
}

/** Raw partitions have no inodes; their pages are kept under a number that no inode has. */
const RAW = 0;

/**
 * The held leases, found by id, partition, path, and by the pages that they pin. Nothing
 * here walks over all leases to find some.
 */
export class LeaseIndex {
  readonly #byId = new Map<string, Lease>();
  readonly #all = new LeaseRoll<Lease>();
  readonly #byPartition = new Map<string, LeaseRoll<Lease>>();
  /** By partition and path. */
  readonly #byFile = new Map<string, LeaseRoll<Lease>>();
  /** Pinned pages by partition and inode, in bytes of the file or raw partition. */
  readonly #pinned = new Map<string, IntervalTree<Lease>>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): Lease | undefined {
    return this.#byId.get(id);
  }

  /** How many leases stand on a partition, on its files or on its raw bytes. */
  countOn(partition: string): number {
    return this.#byPartition.get(partition)?.size ?? 0;
  }

  /** Every held lease, in the order of ids; they may be deleted meanwhile. */
  all(): Iterable<Lease> {
    return this.#byId.values();
  }

  add(lease: Lease): void {
    assert(!this.#byId.has(lease.id), 'lease ids are unique');
    this.#byId.set(lease.id, lease);
    this.#all.add(lease);
    roll(this.#byPartition, lease.terms.partition).add(lease);
    if (lease.terms.path !== undefined) roll(this.#byFile, fileKey(lease.terms)).add(lease);
    this.#addPages(lease);
  }

  delete(lease: Lease): void {
    assert(this.#byId.delete(lease.id), 'a lease leaves the index once');
    this.#all.delete(lease);
    leave(this.#byPartition, lease.terms.partition, lease);
    if (lease.terms.path !== undefined) leave(this.#byFile, fileKey(lease.terms), lease);
    this.#deletePages(lease);
  }

  /** Runs `change`, after which the lease pins other pages than before. */
  repin(lease: Lease, change: () => void): void {
    this.#deletePages(lease);
    change();
    this.#addPages(lease);
  }

  /** Ids of leases that pin a page with a byte of [from, to); `inode` undefined: raw leases. */
  overlapping(partition: string, inode: number | undefined, from: number, to: number): string[] {
    const ids = new Set<string>();
    const pinned = this.#pinned.get(pagesKey({ partition, inode }));
    if (pinned === undefined || to <= from) return [];
    const end = to === Infinity ? to : roundUp(to, PAGE_SIZE);
    for (const lease of pinned.overlapping(roundDown(from, PAGE_SIZE), end)) {
      if (ids.size === HOLDERS_NAMED_MAX) break;
      ids.add(lease.id);
    }
    return [...ids];
  }

  /** @throws DaxdError EINVAL for a limit below 1. */
  list(filter: LeaseFilter): LeasePage {
    const limit = Math.min(filter.limit ?? LIST_LEASES_DEFAULT, LIST_LEASES_MAX);
    if (!Number.isSafeInteger(limit) || limit < 1) {
      throw new DaxdError('EINVAL', `limit ${limit} is not a whole number of 1 or more`);
    }
    const leases: Lease[] = [];
    let looked = 0;
    let last = '';
    for (const lease of this.#candidates(filter)?.after(filter.cursor ?? '') ?? []) {
      // Only now is it known that there is more to look at.
      if (leases.length === limit || looked === LIST_SCAN_MAX) return { leases, nextCursor: last };
      looked++;
      last = lease.id;
      if (matches(lease, filter)) leases.push(lease);
    }
    return { leases };
  }

  /** The shortest roll that holds everything that can match. */
  #candidates({ partition, path }: LeaseFilter): LeaseRoll<Lease> | undefined {
    if (partition === undefined) return this.#all;
    if (path === undefined) return this.#byPartition.get(partition);
    return this.#byFile.get(fileKey({ partition, path }));
  }

  #addPages(lease: Lease): void {
    const intervals = pinnedIntervals(lease);
    if (intervals.length === 0) return;
    const key = pagesKey(lease.terms);
    const tree = this.#pinned.get(key) ?? new IntervalTree<Lease>();
    this.#pinned.set(key, tree);
    for (const { offset, length } of intervals) {
      tree.add({ start: offset, end: offset + length, id: lease.id, owner: lease });
    }
  }

  #deletePages(lease: Lease): void {
    const key = pagesKey(lease.terms);
    const tree = this.#pinned.get(key);
    for (const { offset } of pinnedIntervals(lease)) {
      assert(tree?.delete(offset, lease.id) === true, 'pinned pages stand in the index');
    }
    if (tree?.size === 0) this.#pinned.delete(key);
  }
}

/** Neighbours in the file are one interval, wherever they lie on the media. */
function pinnedIntervals(lease: Lease): readonly { offset: number; length: number }[] {
  return coalesce(lease.runs);
}

function matches(lease: Lease, { path, state }: LeaseFilter): boolean {
  return (
    (path === undefined || lease.terms.path === path) &&
    (state === undefined || lease.state === state)
  );
}

function roll(rolls: Map<string, LeaseRoll<Lease>>, key: string): LeaseRoll<Lease> {
  const found = rolls.get(key) ?? new LeaseRoll<Lease>();
  rolls.set(key, found);
  return found;
}

function leave(rolls: Map<string, LeaseRoll<Lease>>, key: string, lease: Lease): void {
  const found = rolls.get(key);
  assert(found !== undefined, 'a held lease is on its rolls');
  found.delete(lease);
  if (found.size === 0) rolls.delete(key);
}

/** Partition names hold no slash, so no two files share a key. */
function fileKey({ partition, path }: { partition: string; path?: string | undefined }): string {
  return `${partition}/${path ?? ''}`;
}

function pagesKey({ partition, inode }: { partition: string; inode?: number | undefined }): string {
  return `${partition}/${inode ?? RAW}`;
}
