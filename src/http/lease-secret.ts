import { createHmac, hash, timingSafeEqual } from 'node:crypto';

import { randomText } from '../lib/random.js';

/** 256 bits. */
const SECRET_BYTES = 32;

/** What shows that a caller is the one to whom a lease was granted. */
export interface LeaseSecret {
  /** 256 random bits in base64url: for the caller alone, once. */
  readonly secret: string;
  /** Its SHA-256 in base64url: what the lease keeps. */
  readonly secretHash: string;
  /** What it was made from beside the key of the request, where there was one. */
  readonly secretSalt?: string;
}

/** A secret for a lease that is asked for, by a request with this Idempotency-Key or without one. */
export function newLeaseSecret(key?: string): LeaseSecret {
  if (key !== undefined) return keyedLeaseSecret(key);
  const secret = randomText(SECRET_BYTES);
  return { secret, secretHash: hash('sha256', secret, 'base64url') };
}

/**
 * A secret that can be given again to whoever sends the same Idempotency-Key: from what the lease
 * keeps alone nobody makes it.
 *
 * @param secretSalt what the lease kept; a new one without it.
 */
export function keyedLeaseSecret(key: string, secretSalt = randomText(SECRET_BYTES)): LeaseSecret {
  const secret = createHmac('sha256', secretSalt).update(key).digest('base64url');
  return { secret, secretHash: hash('sha256', secret, 'base64url'), secretSalt };
}

/**
 * Whether `given` is the secret of a lease, told in constant time.
 *
 * @param secretHash undefined for a lease that nobody got a secret for: nothing is its secret.
 */
export function isLeaseSecret(given: string, secretHash: string | undefined): boolean {
  if (secretHash === undefined) return false;
  return timingSafeEqual(Buffer.from(secretHash, 'base64url'), hash('sha256', given, 'buffer'));
}
