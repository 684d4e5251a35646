import type { CancelTimer, Clock } from '../lib/clock.js';
import { HOLDERS_PER_TURN, HOLDER_POLL_MS, HOLDER_TURN_MS } from './limits.js';
import type { HolderTable, Holder } from './holder.js';

interface Watched<Held> {
  readonly holder: Holder;
  readonly held: Set<Held>;
}

/**
 * Tells when the holder of something is gone. It looks about once a second, a bounded number of
 * holders a turn, and only while somebody is watched.
 */
export class HolderWatch<Held> {
  readonly #holders: HolderTable;
  readonly #clock: Clock;
  readonly #onGone: (held: Held, holder: Holder) => void;
  readonly #watched = new Map<string, Watched<Held>>();
  #round: Iterator<[string, Watched<Held>]> | undefined;
  #cancelTimer: CancelTimer | undefined;

  /** `onGone` runs from a timer, once for each thing that the holder has. */
  constructor(holders: HolderTable, clock: Clock, onGone: (held: Held, holder: Holder) => void) {
    this.#holders = holders;
    this.#clock = clock;
    this.#onGone = onGone;
  }

  /** How many holders are watched. */
  get size(): number {
    return this.#watched.size;
  }

  add(holder: Holder, held: Held): void {
    const key = keyOf(holder);
    const watched = this.#watched.get(key) ?? { holder, held: new Set() };
    watched.held.add(held);
    this.#watched.set(key, watched);
    if (this.#cancelTimer === undefined) this.#arm(HOLDER_POLL_MS);
  }

  /** Does nothing when it is not watched. */
  delete(holder: Holder, held: Held): void {
    const key = keyOf(holder);
    const watched = this.#watched.get(key);
    if (watched === undefined) return;
    watched.held.delete(held);
    if (watched.held.size > 0) return;
    this.#watched.delete(key);
    if (this.#watched.size === 0) this.#stop();
  }

  /** Watches nobody any more. */
  close(): void {
    this.#watched.clear();
    this.#stop();
  }

  #arm(delayMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.setTimer(() => {
      this.#turn();
    }, delayMs);
  }

  #stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#round = undefined;
  }

  #turn(): void {
    this.#cancelTimer = undefined;
    this.#round ??= this.#watched.entries();
    for (let looked = 0; looked < HOLDERS_PER_TURN; looked++) {
      const next = this.#round.next();
      if (next.done === true) {
        this.#round = undefined;
        break;
      }
      this.#look(...next.value);
    }
    if (this.#watched.size === 0) this.#stop();
    else this.#arm(this.#round === undefined ? HOLDER_POLL_MS : HOLDER_TURN_MS);
  }

  #look(key: string, { holder, held }: Watched<Held>): void {
    if (this.#holders.presence(holder) !== 'gone') return;
    this.#watched.delete(key);
    for (const one of held) this.#onGone(one, holder);
  }
}

/** Those of one holder are seen through one lease as through another. */
function keyOf(holder: Holder): string {
  return holder.cgroup === undefined
    ? `${holder.pid}:${holder.startTicks}:${holder.view}`
    : `${holder.inode}:${holder.rootInode}:${holder.cgroup}`;
}
