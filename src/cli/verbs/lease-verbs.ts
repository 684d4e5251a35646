import type { Command } from 'commander';

import type { LeaseView } from '../../lease/lease.js';
import { HELD_STATES } from '../../lease/lease-state.js';
import { RefusedError } from '../client.js';
import { leaseSecretHeader } from '../credentials.js';
import { partitionOf, withPartition } from '../partition-choice.js';
import { ACCESSES, WAIT_HELP, lentRange, waitOption } from '../lent-range.js';
import { isBrokenPipe } from '../print.js';
import { choiceValue, countValue, sizeValue } from '../values.js';
import { UsageError } from '../usage-error.js';
import type { VerbContext, VerbRunner } from '../verb.js';
import { listLeases } from './lease-list.js';
import { addLeaseRunVerb } from './lease-run.js';
import { LEASE_HEADING, leasePath, leaseRow } from './lease-table.js';
import { addRecallVerbs } from './recall-verbs.js';

/** What the grant of a lease answers. */
type GrantedView = LeaseView & { readonly secret: string };

/**
 * `lease acquire`, `renew`, `release`, `acknowledge`, `revoke`, `list` and `run`, and `holders`.
 *
 * @param onExit takes the exit code of the command that `run` ran.
 */
export function addLeaseVerbs(
  program: Command,
  verb: VerbRunner,
  onExit: (code: number) => void,
): void {
  const lease = program.command('lease').description('ranges pinned for DMA');

  verb(acquireCommand(lease)).action(acquire);

  verb(
    lease.command('renew').description('give a lease its full time again').argument('<ID>'),
  ).action(async ({ client, terminal, args, standard }) => {
    const path = `${leasePath(args[0])}/renew`;
    const headers = leaseSecretHeader(standard.env);
    const view = await client.json<LeaseView>({ method: 'POST', path, headers, json: {} });
    await terminal.table(view, LEASE_HEADING, [leaseRow(view)]);
  });

  verb(
    lease
      .command('release')
      .description('give back a lease, or some ranges of it')
      .argument('<ID>')
      .option('--range <OFFSET:LENGTH...>', 'only these bytes'),
  ).action(async ({ client, terminal, args, options, standard }) => {
    const ranges = rangesOf(options['range']);
    const path = `${leasePath(args[0])}/release`;
    const json = ranges === undefined ? {} : { ranges };
    const headers = leaseSecretHeader(standard.env);
    const view = await client.json<LeaseView>({ method: 'POST', path, headers, json });
    await terminal.table(view, LEASE_HEADING, [leaseRow(view)]);
  });

  verb(
    lease
      .command('list')
      .description('the leases that are held')
      .option('--path <PATH>', 'those on a file')
      .option('--state <STATE>', `those that are ${HELD_STATES.join(', ')}`)
      .option('-p, --partition <NAME>', 'those on a partition'),
  ).action(listLeases);

  addRecallVerbs(lease, verb);
  addLeaseRunVerb(lease, verb, onExit);

  verb(
    withPartition(
      program
        .command('holders')
        .description('the leases that are held on a file')
        .argument('<PATH>'),
    ),
  ).action(async (context) => {
    const { args, options } = context;
    const partition = await partitionOf(context);
    await listLeases({ ...context, options: { ...options, partition, path: args[0] } });
  });
}

function acquireCommand(lease: Command): Command {
  return withPartition(
    lease
      .command('acquire')
      .description('pin a range of a file, or without --path of a raw partition')
      .option('--path <PATH>', 'a file')
      .option('--offset <BYTES>', 'first byte', '0')
      .option('--length <BYTES>', 'default: to the end of the file')
      .option('--access <ACCESS>', 'read or write', 'read')
      .option('--ttl-ms <MS>', 'renew within this time', '60000')
      .option('--wait <TIME>', WAIT_HELP)
      .option('--client <NAME>', 'who holds it')
      .option('--pid <PID>', 'the process with whose end the lease ends; needs --pid-start')
      .option('--pid-start <TICKS>', 'field 22 of /proc/PID/stat')
      .option('--cgroup <PATH>', 'the cgroup with whose last process the lease ends'),
  );
}

async function acquire(context: VerbContext): Promise<void> {
  const { client, terminal, options } = context;
  const { partition, path, offset, length } = await lentRange(context);
  const json = {
    partition,
    path,
    offset,
    length,
    access: choiceValue(options['access'], '--access', ACCESSES),
    ttl_ms: countValue(options['ttlMs'], '--ttl-ms'),
    wait_ms: waitOption(options).waitMs,
    client: options['client'],
    cgroup: options['cgroup'],
    ...countOption(options, 'pid', { option: 'pid', flag: '--pid' }),
    ...countOption(options, 'pid_start', { option: 'pidStart', flag: '--pid-start' }),
  };
  const view = await client.json<GrantedView>({ method: 'POST', path: '/v1/leases', json });
  try {
    await terminal.table(view, [...LEASE_HEADING, 'SECRET'], [[...leaseRow(view), view.secret]]);
  } catch (error) {
    // Nobody would know of it, and its pages would stay pinned.
    const headers = { 'lease-secret': view.secret };
    await client.call({ method: 'DELETE', path: leasePath(view.id), headers });
    if (!isBrokenPipe(error)) throw error;
    throw new RefusedError({ code: 'EPIPE', detail: 'the lease was given back: nobody read it' });
  }
}

function rangesOf(given: unknown): { offset: number; length: number }[] | undefined {
  if (!Array.isArray(given)) return undefined;
  return given.map((range: unknown) => {
    const [offset, length, ...rest] = String(range).split(':');
    if (length === undefined || rest.length > 0) {
      throw new UsageError(`--range: "${String(range)}" is not OFFSET:LENGTH, such as 0:4K`);
    }
    return {
      offset: sizeValue(offset, '--range'),
      length: sizeValue(length, '--range'),
    };
  });
}

function countOption(
  options: Readonly<Record<string, unknown>>,
  member: string,
  { option, flag }: { readonly option: string; readonly flag: string },
): Record<string, number> {
  const value = options[option];
  return value === undefined ? {} : { [member]: countValue(value, flag) };
}
