import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { rememberEnd } from './ended-lease.js';
import type { LeaseRecord, StoreHeader } from './lease-record.js';
import type { LeaseStore, StoreChange, StoredLease } from './lease-store.js';
import type { LeaseTarget, LeaseTargets } from './lease-target.js';
import { Lease } from './lease.js';
import { NOTE_LAG_MS, RESTART_GRACE_MS } from './limits.js';
import { RestoredPlaces, otherMedia } from './restored-places.js';

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
  /** To be kept once the changes are: until then the next start makes them anew. */
  readonly header: StoreHeader;
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
  const { header: before } = store;
  const isSameBoot = before?.bootId === bootId;
  const nowMs = clock.nowMs();
  const startsMs = startsWith(isSameBoot ? before.startsMs : [], nowMs);
  const changes: StoreChange[] = [];
  const leases: Lease[] = [];
  const places = new RestoredPlaces(options);
  const ended: LeaseRecord[] = [];
  let dead = 0;
  for (const stored of store.stored()) {
    const { terms } = stored.record;
    if (before?.media !== media) throw otherMedia(store, terms.id, `namespace ${before?.media}`);
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
  const header: StoreHeader = { media, bootId, startsMs };
  return { leases, rawTargets: places.rawTargets, changes, header, ended, dead };
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
