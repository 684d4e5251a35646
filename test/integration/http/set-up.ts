import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import type { IncomingHttpHeaders, RequestOptions } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';

import type { Test } from 'tap';

import { buildHttp } from '../../../src/http/app.js';
import { Callers } from '../../../src/http/callers.js';
import { EventStreams } from '../../../src/http/event-streams.js';
import { HostGuard } from '../../../src/http/host-guard.js';
import { Listener } from '../../../src/http/listeners.js';
import type { ListenerOptions } from '../../../src/http/listeners.js';
import { RequestLatencies } from '../../../src/http/request-latencies.js';
import { systemClock } from '../../../src/lib/clock.js';
import type { TlsOptions } from '../../../src/http/tls-files.js';
import type { Address } from '../../../src/lib/listen.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { setUpControl } from '../../unit/http/memory-control.js';
import type { MemoryControl } from '../../unit/http/memory-control.js';

const LIMITS = {
  connectionsMax: 64,
  requestsUnderWayMax: 8,
  headersTimeoutMs: 5_000,
  keepAliveTimeoutMs: 10_000,
};

/** Listeners and what stands behind them. */
export interface ListenersSetUp {
  readonly control: MemoryControl;
  readonly latencies: RequestLatencies;
  readonly listeners: readonly Listener[];
  /** To open more of them. */
  readonly options: ListenerOptions;
}

/** A listener that goes with the test, and its connections with it. */
export async function openListener(
  t: Test,
  address: Address,
  options: ListenerOptions,
): Promise<Listener> {
  const listener = await Listener.open(address, options);
  t.teardown(async () => {
    const closed = listener.close();
    listener.cut();
    await closed;
  });
  return listener;
}

/** The routes over a daemon in memory, behind real sockets. */
export async function setUpListeners(
  t: Test,
  addresses: readonly Address[],
  tls?: TlsOptions,
): Promise<ListenersSetUp> {
  const { control, lent } = await setUpControl();
  const unixSockets = new WeakSet<object>();
  const lastingConnections = new WeakSet<object>();
  const latencies = new RequestLatencies();
  const app = await buildHttp({
    control,
    events: new EventStreams(lent.ring, systemClock),
    guard: new HostGuard(['127.0.0.1', 'localhost'], unixSockets),
    callers: new Callers(undefined, unixSockets),
    lastingConnections,
    latencies,
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    clock: systemClock,
    log: silentLogger,
    version: '0',
    onFatal: (error) => t.fail(error.message),
    limits: { jsonBodyBytesMax: 65536, bodyTimeoutMs: 500, writeChunkBytes: 65536 },
  });
  const route = app.routing.bind(app);
  const options = { route, tls, unixSockets, lastingConnections, limits: LIMITS };
  const listeners: Listener[] = [];
  for (const address of addresses) listeners.push(await openListener(t, address, options));
  return { control, latencies, listeners, options };
}

/** What a call was answered. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One call through Node's own client; `path` goes out as it stands. */
export async function call(options: RequestOptions, body?: string | Buffer): Promise<Answer> {
  const outgoing = request({ agent: false, ...options });
  outgoing.end(body);
  const [response] = await once(outgoing, 'response');
  // An answer may come before the body is out, and end the connection.
  outgoing.on('error', () => {});
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

/** Sends bytes as they are, and gives all that came back. */
export async function sendRaw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(bytes);
  return text(socket);
}

function hex(port = 0): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** The timer that the kernel has set for the server's side of a connection; 2 is the keepalive's (proc_net_tcp.rst). */
export function timerOf({ localPort, remotePort }: Socket): number | undefined {
  const ends = `0100007F:${hex(remotePort)} 0100007F:${hex(localPort)} `;
  const line = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .find((text) => text.includes(ends));
  const timer = line?.trim().split(/\s+/)[5]?.split(':')[0];
  return timer === undefined ? undefined : Number(timer);
}

/** The port of `http://127.0.0.1:1234`. */
export function portOf(listener: Listener | undefined): number {
  return Number(new URL(listener?.url ?? '').port);
}
