import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';

import type { Standard } from './standard.js';
import { UsageError } from './usage-error.js';

/** What stands for standard input among the arguments of a verb. */
export const STANDARD_INPUT = '-';

/**
 * The bytes of a file, or of standard input, as they come. Failures while they are read are the
 * stream's: {@link unreadable} says them.
 *
 * @throws UsageError for a file that cannot be opened.
 */
export async function openSource(standard: Standard, file: string): Promise<Readable> {
  if (file === STANDARD_INPUT) return standard.stdin;
  try {
    const handle = await open(file);
    return handle.createReadStream();
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/**
 * All of standard input.
 *
 * @throws UsageError where it cannot be read.
 */
export async function readStandardInput({ stdin }: Standard): Promise<Buffer> {
  try {
    return await buffer(stdin);
  } catch (cause) {
    throw unreadable(STANDARD_INPUT, cause);
  }
}

/** Says that a source could not be read, and why. */
export function unreadable(file: string, cause: unknown): UsageError {
  const name = file === STANDARD_INPUT ? 'standard input' : file;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new UsageError(`cannot read ${name}: ${why}`, { cause });
}
