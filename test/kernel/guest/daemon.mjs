// Starts daxd in the guest and speaks HTTP to it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const URL_BASE = 'http://127.0.0.1:8470/v1';
const READY_LIMIT_MS = 240_000;

/** Starts daxd with `options`; settles when its first line says that it is ready. */
export async function startDaxd(...options) {
  const child = spawn(process.execPath, ['/app/bin/daxd.js', ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit').then(([code, signal]) => code ?? signal);
  const ready = once(createInterface(child.stdout), 'line', {
    signal: AbortSignal.timeout(READY_LIMIT_MS),
  });
  const first = await Promise.race([
    ready.then(([line]) => line),
    exited.then((status) => `exit ${status}`),
  ]);
  console.log(`daxd: ${first}`);
  return {
    first,
    async stop() {
      child.kill('SIGTERM');
      return exited;
    },
  };
}

/** One call; settles with the status, and the body as JSON where it is JSON. */
export async function call(method, path, body) {
  const isBytes = body instanceof Uint8Array;
  const response = await fetch(URL_BASE + path, {
    method,
    ...(body === undefined ? {} : { body: isBytes ? body : JSON.stringify(body) }),
    ...(body === undefined || isBytes ? {} : { headers: { 'content-type': 'application/json' } }),
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const isJson = /json/.test(response.headers.get('content-type') ?? '');
  return {
    status: response.status,
    bytes,
    body: isJson ? JSON.parse(bytes.toString()) : undefined,
  };
}

/** Bytes that the second boot can make again: no page is like another. */
export function pattern(length, seed) {
  const bytes = Buffer.alloc(length);
  for (let offset = 0; offset < length; offset += 8) {
    bytes.writeBigUInt64LE(BigInt(offset) * 2654435761n + BigInt(seed), offset);
  }
  return bytes;
}
