import { once } from 'node:events';
import { createConnection } from 'node:net';
import type { NetConnectOpts, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import type { FuzzSession } from './fuzz-session.js';

/** A server that has not closed by then hangs. */
const CLOSE_TIMEOUT_MS = 20_000;
/** A client that waits for the server to close gives it so long before it shuts its side. */
const PATIENCE_MS = 30;

/**
 * Plays a session; resolves when both sides have closed.
 *
 * @returns how many bytes the server sent.
 * @throws when the server keeps the connection after its client has left.
 */
export async function playSession(address: NetConnectOpts, session: FuzzSession): Promise<number> {
  const socket = createConnection({ ...address, allowHalfOpen: true });
  // A server may close at any byte, which is the client's own fault here.
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      resolve();
    });
  });
  await Promise.race([once(socket, 'connect').catch(() => undefined), closed]);
  if (!session.deaf) socket.resume();
  await sendAll(socket, session);
  await leave(socket, session);
  socket.resume();
  const late = delay(CLOSE_TIMEOUT_MS, 'late', { ref: false });
  if ((await Promise.race([closed, late])) === 'late') {
    socket.destroy();
    throw new Error(`${session.kind}: the server keeps the connection`);
  }
  return socket.bytesRead;
}

async function sendAll(socket: Socket, { pieces, pauseMs }: FuzzSession): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    if (pauseMs > 0) await delay(pauseMs);
    // Not awaited: the server may have stopped to read while it cannot write.
    socket.write(piece, () => undefined);
  }
}

async function leave(socket: Socket, session: FuzzSession): Promise<void> {
  if (session.leave === 'drop') {
    await new Promise(setImmediate);
    socket.destroy();
    return;
  }
  if (session.leave === 'wait') {
    socket.resume();
    await Promise.race([delay(PATIENCE_MS), once(socket, 'end').catch(() => undefined)]);
  }
  socket.end();
}
