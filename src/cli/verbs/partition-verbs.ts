import type { Command } from 'commander';

import type { Partition } from '../../http/schemas/partition.js';
import { carryOut } from '../carry-out.js';
import { partitionPath } from '../partition-choice.js';
import type { Terminal } from '../terminal.js';
import { sizeValue } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

/** `partitions list`, `add` and `delete`, and `mount`, `unmount` and `format`. */
export function addPartitionVerbs(program: Command, verb: VerbRunner): void {
  const partitions = program.command('partitions').description('the partitions of the disk');
  const path = '/v1/partitions';

  // The default takes the options that the group does not know.
  const listing = partitions.command('list', { isDefault: true });
  verb(listing.description('each one, and what is on it; the default')).action(
    async ({ client, terminal }) => {
      const found = await client.json<Partition[]>({ method: 'GET', path });
      await show(terminal, found, found);
    },
  );

  verb(
    partitions
      .command('add')
      .description('a new one, where there is room')
      .requiredOption('--label <TEXT>', 'its name in the partition table')
      .option('--size <BYTES>', 'or a number with K, M, G or T; default: the largest free stretch'),
  ).action(async ({ client, terminal, options }) => {
    const { label, size } = options;
    const json = { label, ...(size !== undefined && { size: sizeValue(size, '--size') }) };
    const added = await client.json<Partition>({ method: 'POST', path, json });
    await show(terminal, added, [added]);
  });

  verb(
    partitions
      .command('delete')
      .description('take one out of the table; refused while it is in use')
      .argument('<NAME>')
      .option('--disconnect', 'cut its NBD clients off first'),
  ).action(async (context) => {
    const query = context.options['disconnect'] === true ? '?disconnect=true' : '';
    const [name = ''] = context.args;
    await carryOut(context, { method: 'DELETE', path: `${partitionPath(name)}${query}` });
  });

  addFilesystemVerbs(program, verb);
}

function addFilesystemVerbs(program: Command, verb: VerbRunner): void {
  verb(
    program
      .command('mount')
      .description('mount the ext4 on a partition')
      .argument('<NAME>', 'of the partition')
      .option('--read-only'),
  ).action(async (context) => {
    const isReadOnly = context.options['readOnly'] === true;
    await call(context, 'mount', isReadOnly ? { read_only: true } : {});
  });

  verb(
    program
      .command('unmount')
      .description('unmount a partition; refused while pages of it are lent')
      .argument('<NAME>', 'of the partition'),
  ).action(async (context) => {
    await call(context, 'unmount', {});
  });

  verb(
    program
      .command('format')
      .description('lay an empty ext4 down on a partition')
      .argument('<NAME>', 'of the partition')
      .option('--label <TEXT>', 'of the filesystem, up to 16 bytes')
      .option('--force', 'over what lies there'),
  ).action(async (context) => {
    const { label, force } = context.options;
    await call(context, 'format', {
      ...(label !== undefined && { label }),
      ...(force === true && { force }),
    });
  });
}

async function call({ client, terminal, args }: VerbContext, op: string, json: object) {
  const path = `${partitionPath(args[0] ?? '')}/${op}`;
  const partition = await client.json<Partition>({ method: 'POST', path, json });
  await show(terminal, partition, [partition]);
}

async function show(
  terminal: Terminal,
  answer: unknown,
  partitions: readonly Partition[],
): Promise<void> {
  await terminal.table(
    answer,
    ['NAME', 'LABEL', 'START', 'SIZE', 'DAX', 'TYPE', 'MOUNTED', 'FREE'],
    partitions.map(({ name, label, start, size, dax, filesystem }) => [
      name,
      label,
      start,
      size,
      dax.supported ? 'yes' : (dax.errno ?? 'no'),
      filesystem?.type,
      mountState(filesystem),
      filesystem?.free_bytes,
    ]),
  );
}

function mountState(filesystem: Partition['filesystem']): string | undefined {
  if (filesystem === null) return undefined;
  if (filesystem.mounted) return filesystem.read_only ? 'read-only' : 'yes';
  return filesystem.error === undefined ? 'no' : filesystem.error.code;
}
