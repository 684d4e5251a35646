import { randomUUID } from 'node:crypto';

import { systemClock } from '../lib/clock.js';
import { randomU32 } from '../lib/random.js';
import { allPages } from './all-pages.js';
import type { PageAnswer } from './all-pages.js';
import { ClientError } from './client-error.js';
import { Connection } from './connection.js';
import type { ConnectionOptions } from './connection.js';
import { EventWatch } from './event-watch.js';
import type { DaemonEvent } from './event-watch.js';
import { insist } from './insist.js';
import type { LeaseView, OperationView } from './lease-view.js';
import { Lease } from './lease.js';

export { ClientError } from './client-error.js';
export type { Problem } from './client-error.js';
export type { Lease, LeaseEvents, LentBuffer } from './lease.js';
export type { LentBytes, LentExtent, Recall } from './lease-view.js';

/** A daemon, and who talks to it. */
export interface DaxdOptions extends ConnectionOptions {
  /** What the holder calls itself; a name that is this object's own by default. */
  readonly client?: string;
}

/** A lease to ask for; offsets and lengths are bytes. */
export interface LeaseRequest {
  readonly partition: string;
  /** Without it a range of the raw partition. */
  readonly path?: string | undefined;
  readonly offset: number;
  readonly length: number;
  readonly access: 'read' | 'write';
  /** 30 seconds by default. It is renewed by itself. */
  readonly ttlMs?: number | undefined;
  /** How long to wait for changes that are pending there, up to ten minutes; not at all by default. */
  readonly waitMs?: number | undefined;
}

type OperationPage = PageAnswer<'operations', OperationView>;

const TTL_MS = 30_000;

/**
 * A client of one daemon.
 *
 * While it holds a lease it watches the daemon's events, which keeps the process alive.
 */
export class Daxd {
  /** What it calls itself. */
  readonly client: string;
  readonly #connection: Connection;
  readonly #leases = new Map<string, Lease>();
  #watch: EventWatch | undefined;
  /** Requests under way, and events of leases that one of them may be about. */
  #asking = 0;
  #early: DaemonEvent[] = [];

  /** @throws TypeError for a url that is neither http://host:port nor unix:/path. */
  constructor({ client, ...options }: DaxdOptions) {
    this.#connection = new Connection(options);
    this.client = client ?? `pid ${process.pid}, ${randomU32().toString(36)}`;
  }

  /**
   * Asks for a lease. Where a daemon has answered before and this request gets no answer, it is
   * sent again for ten seconds, as one request: there is one lease at most.
   *
   * @throws ClientError `recall-conflict` while a change waits there longer than `waitMs`, and what else daxd says;
   *   ECONNREFUSED and its like when it is not reached. What was granted unheard then lapses, and
   *   pins its pages until it is revoked.
   */
  async lease(request: LeaseRequest): Promise<Lease> {
    this.#asking++;
    try {
      // Before the grant, for a recall may follow it at once.
      this.#watch ??= new EventWatch(this.#connection, this.client, (event) => {
        this.#observe(event);
      });
      await this.#watch.opened;
      return await this.#acquire(request);
    } finally {
      this.#asking--;
      if (this.#asking === 0) this.#early = [];
      this.#stopIdle();
    }
  }

  async #acquire({ ttlMs = TTL_MS, waitMs, ...request }: LeaseRequest): Promise<Lease> {
    const call = {
      method: 'POST',
      path: '/v1/leases',
      json: { ...request, ttl_ms: ttlMs, wait_ms: waitMs, client: this.client },
      ...(waitMs !== undefined && { waitMs }),
      headers: { 'idempotency-key': randomUUID() },
    } as const;
    let sentMs = 0;
    const view = await insist(
      () => {
        sentMs = systemClock.nowMs();
        return this.#connection.call<LeaseView>(call);
      },
      (error) => this.#mayBeGranted(error),
    );
    if (view === undefined) throw new ClientError('EIO', 'daxd answered without a lease');
    const over = ({ id }: Lease): void => {
      this.#leases.delete(id);
      this.#stopIdle();
    };
    const lease = new Lease(view, sentMs, { connection: this.#connection, over });
    this.#leases.set(lease.id, lease);
    const early = this.#early.filter(({ fields }) => fields['lease'] === lease.id);
    // Behind this call, so that its caller has the time to listen.
    setImmediate(() => {
      for (const event of early) lease.observe(event);
      lease.observeRecalls(view.recalls);
    });
    return lease;
  }

  /** Whether a request for a lease that failed so may be granted all the same. */
  #mayBeGranted({ status, code }: ClientError): boolean {
    if (status === undefined) return this.#connection.hasAnswered;
    return code === 'idempotency-in-progress';
  }

  #observe(event: DaemonEvent): void {
    if (event.name === 'resync') {
      void this.#resync();
      return;
    }
    const lease = this.#leases.get(String(event.fields['lease']));
    if (lease !== undefined) lease.observe(event);
    else if (this.#asking > 0) this.#early.push(event);
  }

  /** Events were missed: looks at what waits now. */
  async #resync(): Promise<void> {
    const get = async (path: string): Promise<OperationPage> =>
      (await this.#connection.call<OperationPage>({ method: 'GET', path })) ?? { operations: [] };
    let operations: readonly OperationView[] = [];
    try {
      operations = await allPages(get, { path: '/v1/operations', name: 'operations' });
    } catch (error) {
      // Gone again: when it is back there is a resync again. The leases are renewed meanwhile.
      if (!(error instanceof ClientError)) throw error;
    }
    for (const lease of this.#leases.values()) lease.observeOperations(operations);
  }

  #stopIdle(): void {
    if (this.#asking > 0 || this.#leases.size > 0) return;
    this.#watch?.stop();
    this.#watch = undefined;
  }
}
