import type { Command } from 'commander';

import type { QuarantineEntry } from '../../http/schemas/quarantine.js';
import type { VerbRunner } from '../verb.js';

/** `quarantine list` and `quarantine attest`. */
export function addQuarantineVerbs(program: Command, verb: VerbRunner): void {
  const quarantine = program
    .command('quarantine')
    .description('pages that left their file while they were lent');
  verb(quarantine.command('list').description('whose they are, and why')).action(
    async ({ client, terminal }) => {
      const found = await client.list<QuarantineEntry>({
        path: '/v1/quarantine',
        name: 'quarantine',
      });
      await terminal.table(
        found,
        ['ID', 'PARTITION', 'PATH', 'CLIENT', 'BYTES', 'REASON'],
        found.map((one) => [
          one.id,
          one.partition,
          one.path ?? '',
          one.client ?? '',
          one.bytes,
          one.reason,
        ]),
      );
    },
  );
  verb(
    quarantine
      .command('attest')
      .description('free it: on your word no device stores there any more')
      .argument('<ID>')
      .requiredOption('--reason <TEXT>', 'how you know; it is logged'),
  ).action(async ({ client, terminal, args: [id = ''], options }) => {
    const reason = String(options['reason']);
    const path = `/v1/quarantine/${encodeURIComponent(id)}/attest`;
    const attested = await client.json<object>({ method: 'POST', path, json: { reason } });
    await terminal.pairs(attested, [
      ['id', id],
      ['reason', reason],
    ]);
  });
}
