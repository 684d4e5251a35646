import type { Clock } from '../lib/clock.js';
import { DaxdError } from '../lib/errno.js';
import { HOLDERS_NAMED_MAX, RECALL_MS_MAX } from './limits.js';
import type { HeldLeases } from './held-leases.js';
import type { Lease } from './lease.js';

/** A change that recalls leases. */
export interface RecallingChange {
  readonly id: string;
  /** How long holders have, in milliseconds. */
  readonly deadlineMs: number | undefined;
  /** When its barrier went up in this daemon, on the clock: before it nobody could see a recall. */
  readonly raisedMs: number;
}

/** What a holder let on about a recall; on the clock, in milliseconds. */
interface RecallAnswer {
  /** When it could see the recall first. */
  readonly seenMs: number;
  /** Until when it says that it takes. */
  readonly untilMs?: number | undefined;
}

/** A holder that said how long it takes. */
export interface Acknowledgement {
  readonly lease: string;
  /** What is left of that, in milliseconds. */
  readonly remaining_ms: number;
}

/**
 * How long the holders of recalled leases have. The time of one runs from when it could have
 * seen the recall: with the reply to a renewal, or when it should have renewed at the latest.
 */
export class RecallClock {
  readonly #clock: Clock;
  readonly #held: Pick<HeldLeases, 'isEarlier'>;
  /** By change, then by lease. */
  readonly #answers = new Map<string, Map<string, RecallAnswer>>();

  constructor(clock: Clock, held: Pick<HeldLeases, 'isEarlier'>) {
    this.#clock = clock;
    this.#held = held;
  }

  /** Notes that a reply that shows the recall goes to the holder. */
  seen({ id }: Lease, change: string): void {
    const answers = this.#of(change);
    if (!answers.has(id)) answers.set(id, { seenMs: this.#clock.nowMs() });
  }

  /**
   * Notes how long a holder says that it takes, from now on.
   *
   * @param changes those that ask for the lease.
   * @throws DaxdError ENOENT where there is none.
   */
  acknowledged(
    { id }: Lease,
    changes: Iterable<{ readonly id: string }>,
    estimateMs: number,
  ): void {
    const nowMs = this.#clock.nowMs();
    let count = 0;
    for (const change of changes) {
      const answers = this.#of(change.id);
      const seenMs = answers.get(id)?.seenMs ?? nowMs;
      answers.set(id, { seenMs, untilMs: nowMs + estimateMs });
      count++;
    }
    if (count === 0) throw new DaxdError('ENOENT', `nothing asks for lease ${id}: see its recalls`);
  }

  /** The holders that said how long they take, at most HOLDERS_NAMED_MAX. */
  acknowledgements(change: string): Acknowledgement[] {
    const nowMs = this.#clock.nowMs();
    const named: Acknowledgement[] = [];
    for (const [lease, { untilMs }] of this.#answers.get(change) ?? []) {
      if (untilMs === undefined) continue;
      named.push({ lease, remaining_ms: Math.max(0, Math.floor(untilMs - nowMs)) });
      if (named.length === HOLDERS_NAMED_MAX) break;
    }
    return named;
  }

  /** What is left to a holder, in milliseconds; 0 or less: its time is up. A lapsed lease has none. */
  restMs(lease: Lease, change: RecallingChange): number {
    if (lease.state !== 'active' && lease.state !== 'reclaimable') return 0;
    const nowMs = this.#clock.nowMs();
    const recalledMs = this.#recalledMs(lease, change);
    const answer = this.#answers.get(change.id)?.get(lease.id);
    const seenMs = Math.min(answer?.seenMs ?? Infinity, recalledMs + lease.terms.ttlMs / 3);
    const untilMs = Math.min(answer?.untilMs ?? 0, recalledMs + RECALL_MS_MAX);
    return Math.max(seenMs + (change.deadlineMs ?? 0), untilMs) - nowMs;
  }

  /** Forgets a change that is over. */
  ended(change: string): void {
    this.#answers.delete(change);
  }

  /** A lease may have been granted behind a change that waited already: it had waited longer. */
  #recalledMs(lease: Lease, { raisedMs }: RecallingChange): number {
    return this.#held.isEarlier(lease) ? raisedMs : Math.max(raisedMs, lease.terms.grantedMs);
  }

  #of(change: string): Map<string, RecallAnswer> {
    const answers = this.#answers.get(change) ?? new Map<string, RecallAnswer>();
    this.#answers.set(change, answers);
    return answers;
  }
}
