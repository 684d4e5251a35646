import { FENCES_MAX, FENCES_OF_CLIENT_MAX } from '../lease/limits.js';

/** What is under way of one client, and what waits. */
interface OfClient {
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * Whose fence command runs: at most FENCES_MAX at a time, so that a crowd of holders does not hold
 * up the machine, and FENCES_OF_CLIENT_MAX of one client, so that a client whose fence hangs does
 * not hold up others. Clients that wait are served in rotation.
 */
export class FenceTurns {
  #running = 0;
  /** Those of whom anything runs or waits; whose turn comes next stands first. */
  readonly #clients = new Map<string, OfClient>();

  /** Settles when it is the client's turn; {@link give} ends that. */
  async take(client: string): Promise<void> {
    let mine = this.#clients.get(client);
    if (mine === undefined) this.#clients.set(client, (mine = { running: 0, waiting: [] }));
    if (this.#running < FENCES_MAX && mine.running < FENCES_OF_CLIENT_MAX) {
      this.#begin(mine);
      return;
    }
    const { waiting } = mine;
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
    });
  }

  give(client: string): void {
    const mine = this.#clients.get(client);
    if (mine === undefined) return;
    this.#running--;
    mine.running--;
    if (mine.running + mine.waiting.length === 0) this.#clients.delete(client);
    this.#callNext();
  }

  #callNext(): void {
    for (const [client, one] of this.#clients) {
      if (one.running === FENCES_OF_CLIENT_MAX) continue;
      const next = one.waiting.shift();
      if (next === undefined) continue;
      this.#begin(one);
      this.#clients.delete(client);
      this.#clients.set(client, one);
      next();
      return;
    }
  }

  #begin(one: OfClient): void {
    this.#running++;
    one.running++;
  }
}
