import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';

import type { Command } from 'commander';

import { ClientError, Daxd } from '../../client/daxd.js';
import type { Lease, LeaseRequest } from '../../client/daxd.js';
import { systemCodeOf } from '../../lib/errno.js';
import { RefusedError, asVerbError } from '../client.js';
import { ACCESSES, WAIT_HELP, lentRange, waitOption } from '../lent-range.js';
import { withPartition } from '../partition-choice.js';
import { SignalRelay } from '../signal-relay.js';
import type { Standard } from '../standard.js';
import { UsageError } from '../usage-error.js';
import { choiceValue, durationMsValue } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

/** As a shell has it: a command that is not there, and one that cannot be run. */
const EXIT_NOT_FOUND = 127;
const EXIT_NOT_RUN = 126;
/** Linux takes 128 KiB a variable (MAX_ARG_STRLEN, linux/binfmts.h), its name included. */
const VARIABLE_BYTES_MAX = 120_000;
/** What a shell adds to the number of the signal that ended a command. */
const EXIT_SIGNAL = 128;

/** `lease run -- CMD`: a lease for as long as a command runs. */
export function addLeaseRunVerb(
  lease: Command,
  verb: VerbRunner,
  onExit: (code: number) => void,
): void {
  verb(
    withPartition(
      lease
        .command('run')
        .description('run a command that has a lease: see DAXD_LEASE in its environment')
        .argument('<CMD...>', 'behind --, with its arguments')
        .requiredOption('--path <PATH>', 'a file')
        .option('--offset <BYTES>', 'first byte', '0')
        .option('--length <BYTES>', 'default: to the end of the file')
        .option('--access <ACCESS>', 'read or write', 'read')
        .option(
          '--ttl <TIME>',
          'renew within this time: seconds, or a number with ms, s or m',
          '30s',
        )
        .option('--wait <TIME>', WAIT_HELP),
    ),
  ).action(async (context) => {
    onExit(await leaseAndRun(context));
  });
}

async function leaseAndRun(context: VerbContext): Promise<number> {
  const { stderr } = context.standard;
  const [command, ...args] = context.args.filter((arg) => arg !== undefined);
  if (command === undefined || command === '') {
    throw new UsageError('name a command to run, behind --');
  }
  const request = await requestOf(context);
  // Ended by a signal from here on, it would leave a lease that nobody has.
  const signals = new SignalRelay();
  try {
    const lease = await acquire(context, request);
    try {
      if (signals.noted !== undefined) return exitOfSignal(signals.noted);
      const child = start([command, ...args], lease, context.standard);
      if (child === undefined) return EXIT_NOT_RUN;
      tellOf(lease, child, stderr);
      signals.passTo(child);
      return await exitOf(child, stderr);
    } finally {
      signals.passTo(undefined);
      await release(lease, stderr);
    }
  } finally {
    signals.stop();
  }
}

async function requestOf(context: VerbContext): Promise<LeaseRequest> {
  const { options } = context;
  const access = choiceValue(options['access'], '--access', ACCESSES);
  const { partition, path, offset, length } = await lentRange(context);
  const ttlMs = durationMsValue(options['ttl'], '--ttl');
  return { partition, path, offset, length, access, ttlMs, ...waitOption(options) };
}

async function acquire({ client }: VerbContext, request: LeaseRequest): Promise<Lease> {
  const daxd = new Daxd({ url: client.url, ...client.credentials });
  try {
    return await daxd.lease(request);
  } catch (error) {
    throw asVerbError(error);
  }
}

/** Gives a lease back; where that fails, what the command made of its work is told all the same. */
async function release(lease: Lease, stderr: Writable): Promise<void> {
  try {
    await lease.release();
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    const { id } = lease;
    stderr.write(
      `daxd: lease ${id} is not given back and keeps its pages until daxd lease revoke ${id}: ${error.message}\n`,
    );
  }
}

/** Starts the command; undefined where it cannot be run, which is told. @throws RefusedError E2BIG */
function start(
  [command, ...args]: readonly [string, ...string[]],
  lease: Lease,
  { env, stderr }: Standard,
): ChildProcess | undefined {
  const variables = environmentOf(lease);
  try {
    return spawn(command, args, { stdio: 'inherit', env: { ...env, ...variables } });
  } catch (error) {
    // Most errors are told as an event; ENOEXEC, ENOTDIR and their like are thrown.
    const why = error instanceof Error ? error.message : String(error);
    stderr.write(`daxd: ${command}: ${why}\n`);
    return undefined;
  }
}

/** Tells of what becomes of the lease while the command runs, which ends with it. */
function tellOf(lease: Lease, child: ChildProcess, stderr: Writable): void {
  lease.on('recall', ({ op, operation }) => {
    stderr.write(`daxd: ${op} ${operation} waits for the lease to end\n`);
  });
  lease.on('suspect', () => {
    stderr.write('daxd: the lease is not renewed: no daemon answers\n');
  });
  lease.on('lost', ({ message }) => {
    stderr.write(`daxd: the lease is lost, the command is ended: ${message}\n`);
    child.kill('SIGTERM');
  });
}

/**
 * What the command finds its lease by.
 *
 * @throws RefusedError E2BIG where it cannot be told of so many extents.
 */
function environmentOf({ id, backingPath, extents }: Lease): Record<string, string> {
  const lease = JSON.stringify({ id, backing_path: backingPath, extents });
  if (lease.length > VARIABLE_BYTES_MAX) {
    const detail = `the ${extents.length} extents of the lease are more than an environment holds: lease a shorter range`;
    throw new RefusedError({ code: 'E2BIG', detail });
  }
  return {
    DAXD_LEASE: lease,
    DAXD_LEASE_ID: id,
    DAXD_BACKING: backingPath,
    DAXD_EXTENTS: extents
      .map(({ device_offset: offset, length }) => `${offset}:${length}`)
      .join(','),
  };
}

/** Waits until the command has ended, and gives the exit code of a shell for it. */
async function exitOf(child: ChildProcess, stderr: Writable): Promise<number> {
  return new Promise((resolve) => {
    child.on('error', (error) => {
      stderr.write(`daxd: ${error.message}\n`);
      // A signal that it may not be sent, being another user's, does not end it.
      if (child.pid !== undefined) return;
      resolve(systemCodeOf(error) === 'ENOENT' ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
    });
    child.once('exit', (code, signal) => {
      resolve(signal === null ? (code ?? 0) : exitOfSignal(signal));
    });
  });
}

function exitOfSignal(signal: NodeJS.Signals): number {
  return EXIT_SIGNAL + constants.signals[signal];
}
