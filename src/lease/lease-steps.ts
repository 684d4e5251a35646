import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { coalesce, subtract } from './byte-ranges.js';
import type { ByteRange } from '../lib/byte-range.js';
import { beingEnded, beingRevoked, givenBack, rememberEnd } from './ended-lease.js';
import type { HeldLeases, LeaseEnd } from './held-leases.js';
import type { QuarantineCause } from './lease-record.js';
import type { LeaseQuarantine } from './lease-quarantine.js';
import { hasEnded } from './lease-state.js';
import type { LeaseStore, StoreChange } from './lease-store.js';
import type { Lease } from './lease.js';
import type { GrantKey } from './lease-terms.js';
import { LEASE_RANGES_MAX } from './limits.js';

/**
 * Looks at a lease right before it is changed, when no other durable step of it is under way.
 * What it throws refuses the change.
 */
export type LeaseCheck = (lease: Lease) => void;

/** What {@link LeaseSteps} stand on. */
export interface LeaseStepsOptions {
  readonly held: HeldLeases;
  readonly store: LeaseStore;
  readonly clock: Clock;
  readonly quarantine: Pick<LeaseQuarantine, 'ended' | 'free'>;
  /** Told of each lease that has no deadline any more. */
  readonly onQuarantine: (lease: Lease) => void;
  /** Told of each lease that is about to be forgotten. */
  readonly onForget: (lease: Lease) => void;
}

/**
 * The durable steps in the life of a lease: kept, made smaller, ended. Each goes to the store
 * and then to memory, so that pages are pinned for as long as the store may speak for them.
 * The steps of one lease are to be run one after the other, by {@link Lease.inTurn}.
 */
export class LeaseSteps {
  readonly #options: LeaseStepsOptions;
  readonly #unkept = new Set<Lease>();
  readonly #revoking = new Set<Lease>();
  readonly #ending = new Set<Lease>();
  /** Whose holders are gone: see {@link holderGone}. */
  readonly #gone = new WeakSet<Lease>();

  constructor(options: LeaseStepsOptions) {
    this.#options = options;
  }

  /** The leases that no store keeps yet: they would not outlive this process. */
  get unkept(): readonly Lease[] {
    return [...this.#unkept];
  }

  /**
   * Makes a new lease durable, and what key it was granted to; or undoes it.
   *
   * @param until what is to be durable before.
   * @throws DaxdError ENOSPC, EIO when the store fails, and what `until` throws: nothing is held then.
   */
  async keep(lease: Lease, key: GrantKey | undefined, until?: Promise<void>): Promise<void> {
    const { store, clock } = this.#options;
    const changes: StoreChange[] = [putOf(lease)];
    if (key !== undefined) {
      const grantedMs = clock.wallMs();
      changes.push({ kind: 'key', key: { ...key, lease: lease.id, grantedMs } });
    }
    this.#unkept.add(lease);
    try {
      await lease.inTurn(async () => {
        try {
          if (until !== undefined) await until;
          await store.commit(changes);
        } catch (error) {
          // In its turn: the end of its holder may be next, and finds it over.
          this.#forget(lease, { state: 'released', reason: 'not kept' });
          throw error;
        }
      });
    } finally {
      this.#unkept.delete(lease);
    }
  }

  /**
   * Ends a lease, or takes `ranges` out of it. Where nothing of them is left in it, it stays as it
   * is; so does one that has ended, whatever `check` would say of it.
   *
   * @throws DaxdError what {@link shrink}, {@link end} and `check` throw: all is held still.
   */
  async release(
    lease: Lease,
    ranges: readonly ByteRange[] | undefined,
    check?: LeaseCheck,
  ): Promise<void> {
    if (hasEnded(lease.state)) return;
    check?.(lease);
    const rest = ranges === undefined ? [] : subtract(lease.ranges, coalesce(ranges));
    if (rest.length === 0) await this.end(lease, { state: 'released', reason: 'asked for' });
    else if (bytesOf(rest) < bytesOf(lease.ranges)) await this.shrink(lease, rest);
  }

  /** Ends a lease in quarantine on somebody's word. @throws DaxdError ENOENT; as {@link end}. */
  async attest(lease: Lease, reason: string): Promise<void> {
    if (lease.state !== 'quarantined') {
      throw new DaxdError(
        'ENOENT',
        `lease ${lease.id} is not in quarantine: GET /v1/quarantine lists it`,
      );
    }
    await this.end(lease, { state: 'released', reason: `attested: ${reason}` });
  }

  /**
   * Leaves a lease `rest` of its bytes.
   *
   * @throws DaxdError EINVAL for more than LEASE_RANGES_MAX; ENOSPC, EIO when the store fails.
   *   All is held still.
   */
  async shrink(lease: Lease, rest: readonly ByteRange[]): Promise<void> {
    if (rest.length > LEASE_RANGES_MAX) {
      throw new DaxdError(
        'EINVAL',
        `lease ${lease.id} would be left with ${rest.length} separate ranges, at most ${LEASE_RANGES_MAX} are kept: release neighbours together`,
      );
    }
    const { held, store, quarantine } = this.#options;
    // As at its end: what the filesystem keeps of it is freed once it is unpinned, whatever happens.
    const over = givenBack(lease, rest);
    const smaller: StoreChange[] = [{ ...putOf(lease, rest), isLess: true }];
    const { deadlineMs } = lease;
    if (over !== undefined) smaller.push({ kind: 'put', record: over, deadlineMs });
    await store.commit(smaller);
    held.shrink(lease, rest);
    if (over !== undefined) await quarantine.free(over);
  }

  /**
   * Takes note that the holder of a lease is gone for good: from now on nobody goes on with it,
   * also while its end waits for another step of it, or for a store that fails.
   */
  holderGone(lease: Lease): void {
    this.#gone.add(lease);
  }

  /**
   * A lease that no store is being told the end of, or is to be.
   *
   * @throws DaxdError ENOENT for one whose pages may be free at any moment, whatever its state says.
   */
  unlessEnding(lease: Lease): Lease {
    if (this.#ending.has(lease) || this.#gone.has(lease)) throw beingEnded(lease);
    return lease;
  }

  /** @throws DaxdError ENOENT, `lease-revoked` for a lease whose rights are being taken. */
  refuseLate(lease: Lease): void {
    this.unlessEnding(lease);
    if (this.#revoking.has(lease)) throw beingRevoked(lease);
  }

  /**
   * Takes the rights of a lease: its holder cannot go on with it, and its pages stay pinned
   * until there is proof that it uses them no more.
   *
   * @throws DaxdError ENOSPC, EIO when the store fails: it is as it was.
   */
  async revoke(lease: Lease, reason: string): Promise<void> {
    if (hasEnded(lease.state) || lease.quarantined?.isRevoked === true) return;
    const record = { ...lease.record(), quarantined: revokedCause(lease, reason) };
    const { held, store, onQuarantine } = this.#options;
    this.#revoking.add(lease);
    try {
      await store.commit([{ kind: 'put', record, deadlineMs: lease.deadlineMs }]);
    } finally {
      this.#revoking.delete(lease);
    }
    onQuarantine(lease);
    // A change that would not wait may have moved its pages meanwhile.
    const cause = revokedCause(lease, reason);
    if (lease.state === 'quarantined') lease.quarantine(cause);
    else held.quarantine(lease, cause);
  }

  /**
   * Ends a lease; one that has ended stays as it is.
   *
   * @throws DaxdError ENOSPC, EIO when the store fails: all is held still.
   */
  async end(lease: Lease, how: LeaseEnd): Promise<void> {
    if (hasEnded(lease.state)) return;
    const { store, clock, quarantine } = this.#options;
    const { id, deadlineMs, quarantined } = lease;
    // The blocks that the filesystem keeps for it are freed once they are unpinned.
    const rest = quarantined?.cause === 'deferred' ? { ...lease.record(), ended: true } : undefined;
    this.#ending.add(lease);
    try {
      await store.commit([
        rest === undefined ? { kind: 'remove', id } : { kind: 'put', record: rest, deadlineMs },
        rememberEnd(lease, how, clock),
      ]);
    } finally {
      this.#ending.delete(lease);
    }
    this.#forget(lease, how);
    await quarantine.ended(lease);
    if (rest !== undefined) await quarantine.free(rest);
  }

  #forget(lease: Lease, how: LeaseEnd): void {
    const { held, onForget } = this.#options;
    onForget(lease);
    held.remove(lease, how);
  }
}

/** Where its pages left its file, that goes on to be why they are kept. */
function revokedCause({ quarantined }: Lease, reason: string): QuarantineCause {
  return { cause: 'revoked', reason, ...quarantined, isRevoked: true };
}

function putOf(
  lease: Lease,
  ranges?: readonly ByteRange[],
): Extract<StoreChange, { readonly kind: 'put' }> {
  return { kind: 'put', record: lease.record(ranges), deadlineMs: lease.deadlineMs };
}

function bytesOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((bytes, { length }) => bytes + length, 0);
}
