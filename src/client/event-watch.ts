import { setTimeout as sleep } from 'node:timers/promises';

import type { Connection } from './connection.js';

/** One event as the daemon sent it. */
export interface DaemonEvent {
  /** `lease.released`, `recall`, `resync`, ... */
  readonly name: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** How long it waits before it connects again, in milliseconds; doubled each time. */
const RETRY_MS = 100;
const RETRY_MS_MAX = 2_000;

/**
 * Watches the events of one client's leases until it is stopped. It connects again where it
 * left off whenever the connection ends; where that cannot be, the daemon sends `resync`.
 * While it watches, the process stays alive.
 */
export class EventWatch {
  /** Settles when the first connection stands, or has failed. */
  readonly opened: Promise<void>;
  readonly #connection: Connection;
  readonly #path: string;
  readonly #tell: (event: DaemonEvent) => void;
  readonly #stopped = new AbortController();
  #lastId: string | undefined;

  constructor(connection: Connection, client: string, tell: (event: DaemonEvent) => void) {
    this.#connection = connection;
    this.#path = `/v1/events?client=${encodeURIComponent(client)}`;
    this.#tell = tell;
    this.opened = new Promise((resolve) => {
      void this.#run(resolve);
    });
  }

  /** Ends it; nothing is told any more. */
  stop(): void {
    this.#stopped.abort();
  }

  async #run(opened: () => void): Promise<void> {
    const { signal } = this.#stopped;
    let retryMs = RETRY_MS;
    while (!signal.aborted) {
      const hasWorked = await this.#watchOnce(opened);
      opened();
      retryMs = hasWorked ? RETRY_MS : Math.min(retryMs * 2, RETRY_MS_MAX);
      await sleep(retryMs, undefined, { signal }).catch(() => {});
    }
  }

  /** One connection, to its end. @returns whether anything came. */
  async #watchOnce(opened: () => void): Promise<boolean> {
    let hasWorked = false;
    try {
      for await (const block of this.#blocks(opened)) {
        hasWorked = true;
        this.#take(block);
      }
    } catch {
      // Not reached, refused while it drains, or cut off: all the same to who waits.
    }
    return hasWorked;
  }

  /** What stands between two empty lines. */
  async *#blocks(opened: () => void): AsyncGenerator<string> {
    const response = await this.#connection.open({
      method: 'GET',
      path: this.#path,
      signal: this.#stopped.signal,
      ...(this.#lastId !== undefined && { headers: { 'last-event-id': this.#lastId } }),
    });
    let rest = '';
    for await (const text of response.setEncoding('utf8')) {
      const blocks = (rest + String(text)).split('\n\n');
      rest = blocks.pop() ?? '';
      opened();
      yield* blocks;
    }
  }

  #take(block: string): void {
    const fields = new Map<string, string>();
    for (const line of block.split('\n')) {
      const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) fields.set(name, value);
    }
    this.#lastId = fields.get('id') ?? this.#lastId;
    const data = fields.get('data');
    if (data === undefined) return;
    const parsed: unknown = JSON.parse(data);
    if (!isFields(parsed)) return;
    const event = { name: fields.get('event') ?? 'message', fields: parsed };
    // What a listener throws is its program's affair, and no failure of the connection.
    queueMicrotask(() => {
      if (!this.#stopped.signal.aborted) this.#tell(event);
    });
  }
}

function isFields(value: unknown): value is DaemonEvent['fields'] {
  return typeof value === 'object' && value !== null;
}
