import type { LeaseView } from '../../lease/lease.js';
import type { Partition } from '../../http/schemas/partition.js';
import { RefusedError } from '../client.js';
import type { Client } from '../client.js';
import { filePath } from '../partition-choice.js';
import { textOption } from '../values.js';
import type { VerbContext } from '../verb.js';
import { LEASE_HEADING, leaseRow } from './lease-table.js';

/**
 * Prints the leases that `--partition`, `--path` and `--state` leave.
 *
 * @throws RefusedError ENOENT where there are none, and no such partition or file.
 */
export async function listLeases({ client, terminal, options }: VerbContext): Promise<void> {
  const query = new URLSearchParams();
  for (const name of ['partition', 'path', 'state']) {
    const value = textOption(options, name);
    if (value !== undefined) query.set(name, value);
  }
  const leases = await client.list<LeaseView>({ path: '/v1/leases', name: 'leases', query });
  if (leases.length === 0) {
    await refuseUnknown(client, textOption(options, 'partition'), textOption(options, 'path'));
  }
  await terminal.table(
    leases,
    LEASE_HEADING,
    leases.map((lease) => leaseRow(lease)),
  );
}

/** That nobody holds what is not there would be true, and taken for another answer. */
async function refuseUnknown(
  client: Client,
  partition: string | undefined,
  path: string | undefined,
): Promise<void> {
  if (partition === undefined && path === undefined) return;
  const all = await client.json<Partition[]>({ method: 'GET', path: '/v1/partitions' });
  const asked = all.filter(({ name }) => partition === undefined || name === partition);
  if (partition !== undefined && asked.length === 0) {
    throw noEntry(`there is no partition ${partition}: daxd partitions lists them`);
  }
  if (path === undefined) return;
  const mounted = asked.filter(({ filesystem }) => filesystem?.mounted === true);
  // What lies on a partition that is not mounted cannot be told; nobody has a lease of it.
  if (mounted.length < asked.length) return;
  for (const { name } of mounted) if (await isThere(client, filePath(name, 'stat', path))) return;
  const where = asked.map(({ name }) => name).join(', ');
  throw noEntry(`there is no ${path} on ${where}`);
}

async function isThere(client: Client, path: string): Promise<boolean> {
  try {
    await client.call({ method: 'GET', path });
    return true;
  } catch (error) {
    if (error instanceof RefusedError && error.problem.code === 'ENOENT') return false;
    throw error;
  }
}

function noEntry(detail: string): RefusedError {
  return new RefusedError({ code: 'ENOENT', detail });
}
