import { hash } from 'node:crypto';

import type { FastifyReply } from 'fastify';

import { DaxdError } from '../lib/errno.js';
import type { LeaseCheck } from '../lease/lease-steps.js';
import { hasEnded } from '../lease/lease-state.js';
import type { Lease } from '../lease/lease.js';
import type { RecalledView } from '../lease/recalls.js';
import type { LeaseControl } from './control.js';

/** What a lease is like, and behind a dash what waits for it. */
const TAG = /^"([^"-]+)(?:-[^"]*)?"$/;
/** Of a SHA-256 in base64url: 128 bits. */
const DIGEST_LENGTH = 22;

/**
 * Entity tags of leases: `"RUN.GENERATION"`. A generation counts from 1 in each run of the daemon,
 * which has a name that no other run has, so no tag stands for two states of a lease. One that
 * has ended never changes again: its tag has its state in place of the generation, since what is
 * remembered of it has none.
 *
 * Where changes wait for a lease, a dash and a digest of its recalls follow, so that a copy of an
 * answer is fresh only while its recalls are. A precondition looks at what stands before the dash.
 * Time alone (`remaining_ttl_ms`, `deadline_ms`) is in no tag.
 */
export class LeaseTags {
  readonly #leases: Pick<LeaseControl, 'view'>;
  readonly #run: string;

  /** @param run letters and digits that name this run of the daemon, distinct from any other. */
  constructor(leases: Pick<LeaseControl, 'view'>, run: string) {
    this.#leases = leases;
    this.#run = run;
  }

  /** How the API shows a lease now, with the tag of that in the header ETag of `reply`. */
  show(lease: Lease, reply: FastifyReply): RecalledView {
    const view = this.#leases.view(lease);
    void reply.header('etag', this.of(lease, view));
    return view;
  }

  /** The tag of a lease that is shown so. */
  of(lease: Lease, { recalls }: Pick<RecalledView, 'recalls'>): string {
    const name = this.#nameOf(lease);
    return recalls.length === 0 ? `"${name}"` : `"${name}-${digestOf(recalls)}"`;
  }

  /**
   * What an If-Match header asks for; undefined without one. Tags are compared strongly
   * (RFC 9110, section 13.1.1): what is weak or no tag at all is nobody's.
   *
   * @returns what throws DaxdError `stale-generation` for a lease that is not like that.
   */
  checkOf(header: string | undefined): LeaseCheck | undefined {
    if (header === undefined || header.trim() === '*') return undefined;
    const wanted = header.split(',').map((tag) => TAG.exec(tag.trim())?.[1]);
    return (lease) => {
      if (wanted.includes(this.#nameOf(lease))) return;
      throw new DaxdError(
        'stale-generation',
        `lease ${lease.id} is not as If-Match has it: get it, look at it, and give its ETag`,
      );
    };
  }

  #nameOf({ state, generation }: Lease): string {
    return `${this.#run}.${hasEnded(state) ? state : generation}`;
  }
}

function digestOf(recalls: RecalledView['recalls']): string {
  const lasting = recalls.map(({ operation, op, ranges }) => [operation, op, ranges]);
  return hash('sha256', JSON.stringify(lasting), 'base64url').slice(0, DIGEST_LENGTH);
}
