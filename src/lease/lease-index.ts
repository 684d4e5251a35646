import { DaxdError } from '../lib/errno.js';
import { groupBy } from '../lib/group-by.js';
import { LeaseRoll } from './lease-roll.js';
import type { HeldState } from './lease-state.js';
import type { Lease } from './lease.js';
import {
  HOLDERS_NAMED_MAX,
  LIST_DEFAULT,
  LIST_MAX,
  LIST_PIECES_MAX,
  LIST_SCAN_MAX,
} from './limits.js';
import { PartitionLeases } from './partition-leases.js';

/** Which held leases to list; all conditions hold together. */
export interface LeaseFilter {
  readonly partition?: string | undefined;
  /** As it was given when the lease was asked for. */
  readonly path?: string | undefined;
  readonly state?: HeldState | undefined;
  /** The `nextCursor` of the page before. */
  readonly cursor?: string | undefined;
  /** From 1 to LIST_MAX, which larger ones become. */
  readonly limit?: number | undefined;
}

/** A page of a listing, ascending by id. */
export interface LeasePage {
  readonly leases: readonly Lease[];
  /** There while leases are left to look at; a page may be short, even empty, before that. */
  readonly nextCursor?: string;
}

/**
 * The held leases, found by id, partition, path, and by the pages that they pin. Nothing
 * here walks over all leases to find some.
 */
export class LeaseIndex {
  readonly #roll = new LeaseRoll<Lease>();
  /** One for each partition that ever had a lease. */
  readonly #partitions = new Map<string, PartitionLeases>();

  get size(): number {
    return this.#roll.size;
  }

  get(id: string): Lease | undefined {
    return this.#roll.get(id);
  }

  /** How many leases stand on a partition, on its files or on its raw bytes. */
  countOn(partition: string): number {
    return this.#partitions.get(partition)?.roll.size ?? 0;
  }

  /** How many leases stand on the files of a partition. */
  countOnFiles(partition: string): number {
    return this.#partitions.get(partition)?.ofFiles ?? 0;
  }

  /** The held leases of a partition, ascending by id. */
  of(partition: string): Iterable<Lease> {
    return this.#partitions.get(partition)?.roll.after('') ?? [];
  }

  /** The leases that pin a page of a file with a byte of [from, to). */
  pinning(partition: string, inode: number, from = 0, to = Infinity): Iterable<Lease> {
    return new Set(this.#partitions.get(partition)?.overlapping(inode, from, to));
  }

  /** Every held lease, ascending by id. */
  all(): Lease[] {
    return [...this.#roll.after('')];
  }

  add(lease: Lease): void {
    this.#roll.add(lease);
    this.#on(lease.terms.partition).add(lease);
  }

  /** Takes in the first leases, ascending by id: much faster than one by one. */
  restore(leases: readonly Lease[]): void {
    this.#roll.restore(leases);
    for (const [partition, theirs] of groupBy(leases, ({ terms }) => terms.partition)) {
      this.#on(partition).restore(theirs);
    }
  }

  delete(lease: Lease): void {
    this.#roll.delete(lease);
    this.#on(lease.terms.partition).delete(lease);
  }

  /** Runs `change`, after which the lease pins other pages than before. */
  repin(lease: Lease, change: () => void): void {
    const leases = this.#on(lease.terms.partition);
    leases.deletePages(lease);
    change();
    leases.addPages(lease);
  }

  /**
   * Ids of leases that pin a page of a file with a byte of [from, to), and that are meant;
   * `inode` undefined: raw leases.
   */
  overlapping(
    partition: string,
    inode: number | undefined,
    { from, to }: { readonly from: number; readonly to: number },
    isMeant: (lease: Lease) => boolean = () => true,
  ): string[] {
    const ids = new Set<string>();
    const leases = this.#partitions.get(partition);
    if (leases === undefined || to <= from) return [];
    for (const lease of leases.overlapping(inode, from, to)) {
      if (ids.size === HOLDERS_NAMED_MAX) break;
      if (isMeant(lease)) ids.add(lease.id);
    }
    return [...ids];
  }

  /** @throws DaxdError EINVAL for a limit below 1. */
  list(filter: LeaseFilter): LeasePage {
    const limit = Math.min(filter.limit ?? LIST_DEFAULT, LIST_MAX);
    if (!Number.isSafeInteger(limit) || limit < 1) {
      throw new DaxdError('EINVAL', `limit ${limit} is not a whole number of 1 or more`);
    }
    const leases: Lease[] = [];
    let looked = 0;
    let pieces = 0;
    let last = '';
    for (const lease of this.#candidates(filter)?.after(filter.cursor ?? '') ?? []) {
      // Only now is it known that there is more to look at.
      const isFull = leases.length === limit || pieces >= LIST_PIECES_MAX;
      if (isFull || looked === LIST_SCAN_MAX) return { leases, nextCursor: last };
      looked++;
      last = lease.id;
      if (!matches(lease, filter)) continue;
      leases.push(lease);
      pieces += lease.ranges.length + lease.runs.length;
    }
    return { leases };
  }

  /** The shortest roll that holds everything that can match. */
  #candidates({ partition, path }: LeaseFilter): LeaseRoll<Lease> | undefined {
    if (partition === undefined) return this.#roll;
    const leases = this.#partitions.get(partition);
    return path === undefined ? leases?.roll : leases?.ofPath(path);
  }

  #on(partition: string): PartitionLeases {
    let leases = this.#partitions.get(partition);
    if (leases === undefined) this.#partitions.set(partition, (leases = new PartitionLeases()));
    return leases;
  }
}

function matches(lease: Lease, { path, state }: LeaseFilter): boolean {
  return (
    (path === undefined || lease.terms.path === path) &&
    (state === undefined || lease.state === state)
  );
}
