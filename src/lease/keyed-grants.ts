import { DaxdError } from '../lib/errno.js';
import type { LeaseStore } from './lease-store.js';
import type { GrantKey } from './lease-terms.js';
import type { Lease } from './lease.js';

/**
 * Has a request with a key grant one lease, however often it is sent. The key is in the commit
 * of the grant, so what was granted before a crash is found after it. A request that is refused
 * leaves no key: sent again, it is a new one.
 */
export class KeyedGrants {
  readonly #store: LeaseStore;
  readonly #leaseOf: (id: string) => Lease;
  /** Fingerprints of the requests under way, by key. */
  readonly #running = new Map<string, string>();

  /** @param leaseOf finds a lease, also one that has ended. */
  constructor(store: LeaseStore, leaseOf: (id: string) => Lease) {
    this.#store = store;
    this.#leaseOf = leaseOf;
  }

  /**
   * The lease that the key was granted before, as it is now, or else what `grant` grants.
   *
   * @throws DaxdError `idempotency-mismatch` for a key of another request,
   *   `idempotency-in-progress` while that is under way; ENOENT where its lease is forgotten;
   *   EBADMSG where the store is damaged there; what `grant` throws.
   */
  async once({ id, fingerprint }: GrantKey, grant: () => Promise<Lease>): Promise<Lease> {
    const running = this.#running.get(id);
    const before = this.#store.grantOf(id);
    if ((running ?? before?.fingerprint ?? fingerprint) !== fingerprint) {
      throw new DaxdError(
        'idempotency-mismatch',
        'another request was sent with this Idempotency-Key: give each its own',
      );
    }
    if (running !== undefined) {
      throw new DaxdError(
        'idempotency-in-progress',
        'the request with this Idempotency-Key is under way: send it again later',
      );
    }
    if (before !== undefined) return this.#leaseOf(before.lease);
    this.#running.set(id, fingerprint);
    try {
      return await grant();
    } finally {
      this.#running.delete(id);
    }
  }
}
