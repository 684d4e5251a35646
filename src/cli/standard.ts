import type { Readable, Writable } from 'node:stream';

/** The streams and the environment of the process, so that tests can stand in for them. */
export interface Standard {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
}
