import type { Command } from 'commander';

import type { Operation } from '../../http/schemas/operation.js';
import { durationMsValue } from '../values.js';
import type { Cell } from '../table.js';
import type { VerbRunner } from '../verb.js';

const HEADING = ['ID', 'OP', 'STATE', 'PARTITION', 'PATH', 'OFFSET', 'END', 'WAITED', 'BLOCKED BY'];

/** `operations list`, `show` and `cancel`. */
export function addOperationVerbs(program: Command, verb: VerbRunner): void {
  const operations = program
    .command('operations')
    .description('changes that wait until nobody has the pages concerned');

  verb(operations.command('list').description('what waits, and for which leases')).action(
    async ({ client, terminal }) => {
      const found = await client.list<Operation>({ path: '/v1/operations', name: 'operations' });
      await terminal.table(
        found,
        HEADING,
        found.map((one) => row(one)),
      );
    },
  );

  verb(
    operations
      .command('show')
      .description('one of them, or how it ended')
      .argument('<ID>')
      .option('--wait <TIME>', 'for its end: seconds, or a number with ms, s or m'),
  ).action(async ({ client, terminal, args, options }) => {
    const { wait } = options;
    const query = wait === undefined ? '' : `?wait_ms=${durationMsValue(wait, '--wait')}`;
    const path = `${operationPath(args[0])}${query}`;
    const found = await client.json<Operation>({ method: 'GET', path });
    await terminal.table(found, [...HEADING, 'OUTCOME'], [[...row(found), outcome(found)]]);
  });

  verb(
    operations
      .command('cancel')
      .description('end its wait; the file stays as it is')
      .argument('<ID>'),
  ).action(async ({ client, terminal, args }) => {
    const path = operationPath(args[0]);
    const found = await client.json<Operation>({ method: 'DELETE', path });
    await terminal.table(found, [...HEADING, 'OUTCOME'], [[...row(found), outcome(found)]]);
  });
}

function operationPath(id = ''): string {
  return `/v1/operations/${encodeURIComponent(id)}`;
}

function row(operation: Operation): Cell[] {
  const { id, op, state, partition, path, offset, end } = operation;
  const blockedBy = operation.blocked_by.join(' ');
  return [id, op, state, partition, path, offset, end ?? 'end', operation.waited_ms, blockedBy];
}

/** Of one that outlived its connection the code, where it failed. */
function outcome({ outcome: word, error }: Operation): string | undefined {
  return error?.code ?? word;
}
