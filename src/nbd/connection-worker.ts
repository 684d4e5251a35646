import { type MessagePort, parentPort, workerData } from 'node:worker_threads';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { SharedUses } from '../lib/shared-uses.js';
import { BlockingSocket } from './blocking-socket.js';
import { ClientGone, ConnectionEnd } from './connection-end.js';
import { ExportAccess } from './export-access.js';
import { handshake, type HandshakeLimits } from './handshake.js';
import { MainCalls } from './main-calls.js';
import { NbdCounters } from './nbd-counters.js';
import { Negotiation, type Session, type TlsState } from './negotiation.js';
import { CutMark } from './cut-mark.js';
import { PagePipe } from './page-pipe.js';
import { duplicate } from './socket-calls.js';
import { SpinGate } from './spin-gate.js';
import { TlsTransmission } from './tls-transmission.js';
import { type TlsKeys, TlsTransport } from './tls-transport.js';
import { Transmission } from './transmission.js';
import { WorkerArena } from './worker-arena.js';

/** What a worker is born with. */
export interface WorkerBirth {
  /** Counts answers of the main thread; see `MainCalls`. */
  readonly answers: Int32Array;
  /** One number of all workers; see `SpinGate`. */
  readonly spinners: Int32Array;
  readonly spinnersMax: number;
  readonly uses: SharedArrayBuffer;
  readonly cut: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly limits: HandshakeLimits & { readonly inFlightBytes: number };
  readonly tls: TlsKeys | undefined;
}

/** A connection to serve. */
export interface Serve {
  /** Stays open until the worker says that it is done. */
  readonly fd: number;
  readonly tls: TlsState;
}

/** The worker is to end; it serves nothing. */
export interface End {
  readonly end: true;
}

/** The worker can serve: said once, after its modules were loaded. */
export interface Started {
  readonly started: true;
}

/** The worker is done with its connection; `why` says what the client did wrong, if anything. */
export interface Done {
  readonly done: true;
  readonly why: string | undefined;
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- NbdWorker starts this file, with these
const birth = workerData as WorkerBirth;
const port = mainPort();
const calls = new MainCalls(port, birth.answers);
const arena = new WorkerArena();
const pipe = new PagePipe(arena.incoming);
const uses = new SharedUses(birth.uses);
const cut = new CutMark(birth.cut);
const counters = new NbdCounters(birth.counters);
const spin = (): SpinGate => new SpinGate(birth.spinners, birth.spinnersMax);

port.on('message', (message: Serve | End) => {
  // With its port closed the thread has nothing left to do, and ends by itself: nothing native is torn.
  if ('end' in message) {
    pipe.close();
    port.close();
  } else void serveAndReport(message);
});
const started: Started = { started: true };
port.postMessage(started);

async function serveAndReport(message: Serve): Promise<void> {
  const done: Done = { done: true, why: await serve(message) };
  port.postMessage(done);
}

function mainPort(): MessagePort {
  assert(parentPort !== null, 'a connection worker runs beside a main thread');
  return parentPort;
}

/** Serves one connection to its end, however it ends. */
async function serve({ fd, tls }: Serve): Promise<string | undefined> {
  try {
    const negotiation = new Negotiation(calls, tls);
    const course = handshake(negotiation, birth.limits);
    const end = new BlockingSocket(fd, arena).run(course);
    if (end.end === 'transmission') transmit(fd, end.session);
    else if (end.end === 'tls') await serveSecured(fd, negotiation.secured());
    return undefined;
  } catch (failure) {
    if (!(failure instanceof ConnectionEnd)) throw failure;
    return failure instanceof ClientGone ? undefined : failure.message;
  }
}

function transmit(fd: number, session: Session): void {
  const access = accessOf(session);
  try {
    const { inFlightBytes } = birth.limits;
    const shared = { arena, pipe, uses, counters };
    const parts = { fd, session, access, spin: spin(), inFlightBytes, ...shared };
    new Transmission(parts).run();
  } finally {
    access.close();
  }
}

/** @throws ConnectionEnd where the process has no more room for a client: no descriptor, no memory. */
function accessOf(session: Session): ExportAccess {
  try {
    return new ExportAccess({ open: session.export, arena, calls, cut });
  } catch (failure) {
    if (!(failure instanceof DaxdError)) throw failure;
    throw new ConnectionEnd(failure.message);
  }
}

async function serveSecured(fd: number, negotiation: Negotiation): Promise<void> {
  assert(birth.tls !== undefined, 'TLS is begun where it is configured');
  const { inFlightBytes } = birth.limits;
  const own = duplicate(fd);
  // Where the process has no descriptor left, this client alone is left.
  if (own < 0) throw new ClientGone();
  const transport = await TlsTransport.open(own, birth.tls, inFlightBytes);
  try {
    const end = await transport.run(handshake(negotiation, birth.limits));
    if (end.end !== 'transmission') return;
    await transmitSecured(transport, end.session);
  } finally {
    await transport.close();
  }
}

async function transmitSecured(transport: TlsTransport, session: Session): Promise<void> {
  const access = accessOf(session);
  try {
    const { inFlightBytes } = birth.limits;
    const parts = { transport, session, access, arena, uses, counters, inFlightBytes };
    await new TlsTransmission(parts).run();
  } finally {
    access.close();
  }
}
