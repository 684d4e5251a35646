import type { Writable } from 'node:stream';

import { systemCodeOf } from '../lib/errno.js';

/** Prints; settles when it is written. @throws Error of the stream */
export async function print(out: Writable, what: string | Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    out.write(what, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Whether nobody reads any more what is written. */
export function isBrokenPipe(error: unknown): boolean {
  return systemCodeOf(error) === 'EPIPE';
}
