import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { rememberEnd } from './ended-lease.js';
import type { LeaseRecord, StoreHeader } from './lease-record.js';
import type { LeaseStore, StoreChange, StoredLease } from './lease-store.js';
import type { LeaseTarget, LeaseTargets } from './lease-target.js';
import { Lease } from './lease.js';
import { NOTE_LAG_MS, RESTART_GRACE_MS } from './limits.js';
import type { MediaIdentity } from './lease-terms.js';

/** A superblock counts mounts in 16 bits. */
const MOUNT_COUNT_MASK = 0xffff;

/** What is there when the daemon starts. */
export interface RestartOptions {
  readonly store: LeaseStore;
  readonly targets: LeaseTargets;
  readonly media: string;
  readonly bootId: string;
  readonly backingPath: string;
  readonly clock: Clock;
}

/** What a store kept, and what it is to keep from now on. */
export interface Restored {
  /** Their pages are to be pinned; ascending by id. */
  readonly leases: readonly Lease[];
  /** What those of raw partitions claim, by partition. */
  readonly rawTargets: ReadonlyMap<string, LeaseTarget>;
  readonly changes: readonly StoreChange[];
  /** Leases that ended, and whose blocks are to be freed once their filesystem is mounted. */
  readonly ended: readonly LeaseRecord[];
  /** Leases whose holder ended with the boot of the machine. */
  readonly dead: number;
}

/** That its processes ended with its machine is proof enough. */
const REBOOT = { state: 'released', reason: 'reboot' } as const;

/**
 * The leases of the runs before this one. Nothing is changed.
 *
 * @throws DaxdError EBUSY where the store's leases are of other media, EBADMSG for a damaged one.
 */
export function restoredLeases(options: RestartOptions): Restored {
  const { store, media, bootId, clock } = options;
  const { header } = store;
  const isSameBoot = header?.bootId === bootId;
  const nowMs = clock.nowMs();
  const startsMs = startsWith(isSameBoot ? header.startsMs : [], nowMs);
  const changes: StoreChange[] = [{ kind: 'header', header: { media, bootId, startsMs } }];
  const leases: Lease[] = [];
  const places = new Places(options);
  const ended: LeaseRecord[] = [];
  let dead = 0;
  for (const stored of store.stored()) {
    const { terms } = stored.record;
    if (header?.media !== media) throw otherMedia(store, terms.id, `namespace ${header?.media}`);
    if (stored.record.ended === true) {
      ended.push(stored.record);
      continue;
    }
    if (!isSameBoot && terms.holder !== undefined) {
      const end = endWithBoot(stored, ended);
      changes.push(end, rememberEnd(stored.record, REBOOT, clock));
      dead++;
      continue;
    }
    places.check(stored);
    if (isSameBoot) {
      if (stored.isRenewed === true) {
        const deadlineMs = Math.min(stored.deadlineMs, nowMs + terms.ttlMs);
        changes.push({ kind: 'deadline', id: terms.id, deadlineMs });
      }
      leases.push(leaseOf(stored, deadlineAfter(stored, startsMs, nowMs), options));
      continue;
    }
    // Times of another boot mean nothing in this one.
    const deadlineMs = nowMs + Math.min(terms.ttlMs, RESTART_GRACE_MS);
    changes.push({ kind: 'deadline', id: terms.id, deadlineMs });
    leases.push(leaseOf(stored, deadlineMs, options));
  }
  return { leases, rawTargets: places.rawTargets, changes, ended, dead };
}

/** Says what was restored, where there was something. */
export function logRestored(
  { log, store }: { readonly log: Logger; readonly store: LeaseStore },
  { leases, dead }: Restored,
): void {
  if (leases.length + dead === 0) return;
  log.info(
    { leases: leases.length, endedWithReboot: dead, store: store.name },
    'leases of an earlier run: reclaimable, their pages are pinned',
  );
}

/**
 * The longer of what was left of its ttl and the grace, never more than the ttl. The grace
 * counts from the first start after its holder's last renewal, so that frequent restarts make
 * no lease immortal. The first renewal in each run is noted before it is answered, so it is known
 * in which run that was; later ones of the same run may have come NOTE_LAG_MS after the note.
 */
function deadlineAfter(
  { record, deadlineMs }: StoredLease,
  startsMs: readonly number[],
  nowMs: number,
): number {
  const { ttlMs } = record.terms;
  const renewedMs = deadlineMs - ttlMs;
  const startMs = startsMs.find((ms) => ms > renewedMs) ?? nowMs;
  return Math.min(nowMs + ttlMs, Math.max(deadlineMs + NOTE_LAG_MS, startMs + RESTART_GRACE_MS));
}

/** Drops starts that no grace counts from any more, but for the newest of them. */
function startsWith(before: StoreHeader['startsMs'], nowMs: number): number[] {
  const graceFromMs = nowMs - RESTART_GRACE_MS;
  const firstInGrace = before.findIndex((ms) => ms >= graceFromMs);
  const kept = firstInGrace < 0 ? before.slice(-1) : before.slice(Math.max(0, firstInGrace - 1));
  return [...kept, nowMs];
}

/** Of one whose pages are in quarantine the filesystem keeps blocks, to be freed at its mount. */
function endWithBoot({ record, deadlineMs }: StoredLease, ended: LeaseRecord[]): StoreChange {
  if (record.quarantined?.cause !== 'deferred') return { kind: 'remove', id: record.terms.id };
  const over = { ...record, ended: true };
  ended.push(over);
  return { kind: 'put', record: over, deadlineMs };
}

function leaseOf({ record }: StoredLease, deadlineMs: number, place: RestartOptions): Lease {
  const { terms, holding, quarantined } = record;
  const state = quarantined === undefined ? 'reclaimable' : 'quarantined';
  return new Lease(terms, { state, holding, deadlineMs, quarantined }, place);
}

/** Looks once at each partition whether it is the one that leases were granted on. */
class Places {
  readonly #options: RestartOptions;
  readonly #found = new Map<string, FoundMedia>();
  /** What raw leases take their claims from. */
  readonly rawTargets = new Map<string, LeaseTarget>();

  constructor(options: RestartOptions) {
    this.#options = options;
  }

  /** @throws DaxdError EBUSY for another partition. */
  check({ record }: StoredLease): void {
    const { id, partition, media, inode } = record.terms;
    const { store, targets } = this.#options;
    const why = this.#find(partition).whyOther(media, inode !== undefined);
    if (why !== undefined) throw otherMedia(store, id, `${partition} of other media: ${why}`);
    if (inode !== undefined || this.rawTargets.has(partition)) return;
    this.rawTargets.set(partition, targets.target(partition));
  }

  #find(partition: string): FoundMedia {
    const known = this.#found.get(partition);
    if (known !== undefined) return known;
    const { store, targets } = this.#options;
    const found = new FoundMedia(partition, targets.identify(partition), store.left(partition));
    this.#found.set(partition, found);
    return found;
  }
}

/** What lies on a partition, and what daxd left there. */
class FoundMedia {
  readonly #partition: string;
  readonly #now: MediaIdentity | undefined;
  /** Why it is not what was left; undefined where it is, and where nothing is known of that. */
  readonly #whyNotLeft: string | undefined;

  constructor(partition: string, now: MediaIdentity | undefined, left: MediaIdentity | undefined) {
    this.#partition = partition;
    this.#now = now;
    if (now !== undefined && left !== undefined) this.#whyNotLeft = whyOther(left, now);
  }

  /** Why it is not what a lease was granted on: its file, or the bytes, which are its holder's affair. */
  whyOther(granted: MediaIdentity, isOfFile: boolean): string | undefined {
    if (this.#now === undefined) return `there is no ${this.#partition} here`;
    if (!isOfFile) return whyOther({ partition: granted.partition }, this.#now);
    return whyOther(granted, this.#now) ?? this.#whyNotLeft;
  }
}

/** Why media are not those that they were; undefined where they are. */
export function whyOther(then: MediaIdentity, now: MediaIdentity): string | undefined {
  if (then.partition !== now.partition) {
    return `its uuid was ${then.partition} and is ${now.partition}`;
  }
  if (then.filesystem === undefined) return undefined;
  if (then.filesystem !== now.filesystem) {
    return `the uuid of its ext4 was ${then.filesystem} and is ${now.filesystem ?? 'gone'}`;
  }
  return isOlder(then, now) ? 'its ext4 is an older state of the one that was leased' : undefined;
}

/** Whether media are a copy from before: e2fsck alone sets the count of mounts back. */
function isOlder(then: MediaIdentity, now: MediaIdentity): boolean {
  const { writtenSeconds = 0, mountCount } = then;
  if (writtenSeconds > (now.writtenSeconds ?? 0)) return true;
  if (mountCount === undefined || now.mountCount === undefined) return false;
  const fewer = (mountCount - now.mountCount) & MOUNT_COUNT_MASK;
  const isFewer = fewer > 0 && fewer <= MOUNT_COUNT_MASK / 2;
  return isFewer && (now.checkedSeconds ?? 0) < writtenSeconds;
}

function otherMedia({ name }: LeaseStore, id: string, whose: string): DaxdError {
  return new DaxdError(
    'EBUSY',
    `${name} keeps leases, ${id} the first, of ${whose}. Give the backing that they were granted on, or another --state-dir; ` +
      'once you know that none of their holders does DMA any more, move the directory away',
  );
}
