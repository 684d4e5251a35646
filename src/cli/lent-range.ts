import type { FileStat } from '../http/schemas/file.js';
import type { Client } from './client.js';
import { filePath, partitionOf } from './partition-choice.js';
import { UsageError } from './usage-error.js';
import { durationMsValue, sizeValue, textOption } from './values.js';
import type { VerbContext } from './verb.js';

/** What `--access` takes. */
export const ACCESSES = ['read', 'write'] as const;

/** What `--wait` of a verb that asks for a lease is for. */
export const WAIT_HELP =
  'for changes that are pending there: seconds, or a number with ms, s or m; default: not at all';

/** A place in a file, or without `path` in a raw partition. */
interface Place {
  readonly partition: string;
  readonly path: string | undefined;
  readonly offset: number;
}

/**
 * The bytes that a verb's options ask a lease of; without `--length` to the end of the file.
 *
 * @throws UsageError where there are none, and for a raw partition without a length.
 */
export async function lentRange(
  context: VerbContext,
): Promise<Place & { readonly length: number }> {
  const { client, options } = context;
  const place = {
    partition: await partitionOf(context),
    path: textOption(options, 'path'),
    offset: sizeValue(options['offset'], '--offset'),
  };
  const { length } = options;
  return {
    ...place,
    length: length === undefined ? await restOfFile(client, place) : sizeValue(length, '--length'),
  };
}

/** How long `--wait` says, where it is given. @throws UsageError */
export function waitOption({ wait }: VerbContext['options']): { readonly waitMs?: number } {
  return wait === undefined ? {} : { waitMs: durationMsValue(wait, '--wait') };
}

async function restOfFile(client: Client, { partition, path, offset }: Place): Promise<number> {
  if (path === undefined) throw new UsageError('--length is needed where there is no --path');
  const stat = filePath(partition, 'stat', path);
  const { size } = await client.json<FileStat>({ method: 'GET', path: stat });
  if (offset < size) return size - offset;
  throw new UsageError(`--offset ${offset} is at or behind the end of the file, at ${size}`);
}
