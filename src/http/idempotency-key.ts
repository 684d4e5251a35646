import { hash } from 'node:crypto';

import { hasEnded } from '../lease/lease-state.js';
import type { Lease } from '../lease/lease.js';
import type { GrantKey } from '../lease/lease-terms.js';
import { DaxdError } from '../lib/errno.js';
import { HttpRefusal } from './problem.js';

/** The key of a request, as it was sent and as it is kept. */
export interface IdempotencyKey {
  readonly text: string;
  readonly grant: GrantKey;
}

const PLAIN = /^[\x20-\x7e]{1,255}$/;
/** A string of RFC 9651, section 3.3.3. */
const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;

/**
 * Reads an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a string in quotes, or
 * the same without them.
 *
 * @param caller the token that it came with: each has keys of its own.
 * @param request what is asked for, its members always in the same order.
 * @returns undefined without a header.
 * @throws DaxdError EINVAL
 */
export function idempotencyKeyOf(
  header: string | undefined,
  caller: string | undefined,
  request: object,
): IdempotencyKey | undefined {
  if (header === undefined) return undefined;
  const quoted = QUOTED.exec(header)?.[1]?.replaceAll(/\\(.)/g, '$1');
  const text = header.startsWith('"') ? (quoted ?? '') : header;
  if (!PLAIN.test(text)) {
    throw new DaxdError(
      'EINVAL',
      'Idempotency-Key is not 1 to 255 printable ASCII characters: give a random UUID, say',
    );
  }
  // What is kept shows nobody the key, from which the lease's secret is made.
  const grant = { id: digest([caller ?? null, text]), fingerprint: digest(Object.values(request)) };
  return { text, grant };
}

/**
 * Refuses a key for a call that would do its work once more when it is sent again, and of which none
 * is kept.
 *
 * @throws DaxdError EINVAL
 */
export function refuseKey(header: unknown): void {
  if (header === undefined) return;
  throw new DaxdError(
    'EINVAL',
    'no Idempotency-Key is kept for this call: look at the size of the file before it is sent again',
  );
}

/** @throws HttpRefusal 410 with ENOENT for a lease that has ended: nothing of it can be used. */
export function refuseEnded({ id, state }: Lease): void {
  if (!hasEnded(state)) return;
  throw new HttpRefusal({
    status: 410,
    code: 'ENOENT',
    message: `lease ${id} of this Idempotency-Key has ended: ask for a new one with another key`,
  });
}

function digest(parts: readonly unknown[]): string {
  return hash('sha256', JSON.stringify(parts), 'base64url');
}
