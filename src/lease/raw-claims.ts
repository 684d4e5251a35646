import { assert } from '../lib/assert.js';
import type { Claim } from '../block/claims.js';
import type { RawTarget } from './lease-target.js';

const HOLDER = 'raw leases';

/**
 * The claims that keep raw-leased partitions from being mounted, formatted or deleted: one a
 * partition, shared by its raw leases, given back with the last of them. Block clients may
 * use the partition beside them.
 */
export class RawClaims {
  readonly #shares = new Map<string, { readonly claim: Claim; leases: number }>();

  /** Adds a lease to the partition's claim. @throws DaxdError EBUSY when another has the claim. */
  take(partition: string, target: RawTarget): void {
    const share = this.#shares.get(partition);
    if (share !== undefined) share.leases++;
    else this.#shares.set(partition, { claim: target.claim(HOLDER), leases: 1 });
  }

  /** Takes a lease off again. */
  drop(partition: string): void {
    const share = this.#shares.get(partition);
    assert(share !== undefined, 'a raw lease holds a share of its partition');
    share.leases--;
    if (share.leases > 0) return;
    this.#shares.delete(partition);
    share.claim.release();
  }
}
