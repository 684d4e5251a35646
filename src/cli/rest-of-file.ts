import type { Client } from './client.js';
import { filePath } from './partition-choice.js';
import { UsageError } from './usage-error.js';

/** A place in a file, or without `path` in a raw partition. */
export interface Place {
  readonly partition: string;
  readonly path: string | undefined;
  readonly offset: number;
}

/**
 * How many bytes of a file lie behind a place in it.
 *
 * @throws UsageError where there are none, and for a raw partition.
 */
export async function restOfFile(
  client: Client,
  { partition, path, offset }: Place,
): Promise<number> {
  if (path === undefined) throw new UsageError('--length is needed where there is no --path');
  const stat = filePath(partition, 'stat', path);
  const { size } = await client.json<{ readonly size: number }>({ method: 'GET', path: stat });
  if (offset < size) return size - offset;
  throw new UsageError(`--offset ${offset} is at or behind the end of the file, at ${size}`);
}
