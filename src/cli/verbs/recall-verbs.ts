import type { Command } from 'commander';

import type { LeaseView } from '../../lease/lease.js';
import { leaseSecretHeader } from '../credentials.js';
import { countValue } from '../values.js';
import type { VerbRunner } from '../verb.js';
import { LEASE_HEADING, leasePath, leaseRow } from './lease-table.js';

/** `lease acknowledge` and `revoke`: getting a lease back from its holder. */
export function addRecallVerbs(lease: Command, verb: VerbRunner): void {
  verb(
    lease
      .command('acknowledge')
      .description('say how long it takes to give back what is asked for')
      .argument('<ID>')
      .argument('<MS>', 'from now on'),
  ).action(async ({ client, terminal, args, standard }) => {
    const path = `${leasePath(args[0])}/acknowledge`;
    const headers = leaseSecretHeader(standard.env);
    const json = { estimate_ms: countValue(args[1], 'MS') };
    const view = await client.json<LeaseView>({ method: 'POST', path, headers, json });
    await terminal.table(view, LEASE_HEADING, [leaseRow(view)]);
  });

  verb(
    lease
      .command('revoke')
      .description('take a lease from its holder')
      .argument('<ID>')
      .requiredOption('--reason <TEXT>', 'its holder is told, and it is logged'),
  ).action(async ({ client, terminal, args, options }) => {
    const path = `${leasePath(args[0])}/revoke`;
    const json = { reason: options['reason'] };
    const view = await client.json<LeaseView>({ method: 'POST', path, json });
    await terminal.table(view, LEASE_HEADING, [leaseRow(view)]);
  });
}
