import type { Command } from 'commander';

import type { Partition } from '../http/schemas/partition.js';
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
 * @throws UsageError when none or several are mounted and none is named; what the client throws.
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
  throw new UsageError(
    only === undefined
      ? 'nothing is mounted: name a partition with --partition'
      : `several are mounted (${[only, ...others].join(', ')}): choose with --partition`,
  );
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
