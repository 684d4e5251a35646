import type { Command } from 'commander';

import type { Partition } from '../http/schemas/partition.js';
import { RefusedError } from './client.js';
import { UsageError } from './usage-error.js';
import { textOption } from './values.js';
import type { VerbContext } from './verb.js';

/** Gives a command the option that {@link partitionOf} reads. */
export function withPartition(command: Command): Command {
  return command.option('-p, --partition <NAME>', 'default: the only one mounted');
}

/**
 * The partition that a verb works on: the one that `--partition` names, or the only one that is
 * mounted, which the daemon is asked for.
 *
 * @throws UsageError when none or several are mounted and none is named; RefusedError with why a
 *   mount failed; what the client throws.
 */
export async function partitionOf({
  client,
  options,
}: Pick<VerbContext, 'client' | 'options'>): Promise<string> {
  const named = textOption(options, 'partition');
  if (named !== undefined) return named;
  const partitions = await client.json<Partition[]>({ method: 'GET', path: '/v1/partitions' });
  const mounted = partitions.filter(({ filesystem }) => filesystem?.mounted === true);
  const [only, ...others] = mounted.map(({ name }) => name);
  if (only !== undefined && others.length === 0) return only;
  if (only !== undefined) {
    const names = [only, ...others].join(', ');
    throw new UsageError(`several are mounted (${names}): choose with --partition`);
  }
  throw (
    notMounted(partitions) ??
    new UsageError('nothing is mounted: name a partition with --partition')
  );
}

/** Why nothing could be mounted; undefined where nothing was tried. */
function notMounted(partitions: readonly Partition[]): RefusedError | undefined {
  const failures = partitions.flatMap(({ name, filesystem }) =>
    filesystem?.error === undefined ? [] : [{ name, ...filesystem.error }],
  );
  const [first] = failures;
  if (first === undefined) return undefined;
  const { code } = first;
  const why = failures.map((one) => `${one.name} could not be: ${one.code}: ${one.detail}`);
  const detail = `nothing is mounted: ${why.join('; ')}`;
  return new RefusedError({ code, detail });
}

/** The path of a call about a file; each part of the name is percent-encoded. */
export function filePath(
  partition: string,
  resource: 'files' | 'seek' | 'stat' | 'xattrs',
  file: string,
): string {
  const parts = file.replace(/^\//, '').split('/').map(encodeURIComponent);
  return `${partitionPath(partition)}/${resource}/${parts.join('/')}`;
}

/** The path of a call about a partition. */
export function partitionPath(partition: string): string {
  return `/v1/partitions/${encodeURIComponent(partition)}`;
}
