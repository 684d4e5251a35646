import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';

import type { Command } from 'commander';

import { ClientError, Daxd } from '../../client/daxd.js';
import type { Lease } from '../../client/daxd.js';
import { credentialsFrom } from '../credentials.js';
import { RefusedError, UnreachableError } from '../client.js';
import { lentRange } from '../lent-range.js';
import { UsageError } from '../usage-error.js';
import { durationMsValue, textOption } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

/** Passed on to the command, which decides what they mean. */
const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const;
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
    lease
      .command('run')
      .description('run a command that has a lease: see DAXD_LEASE in its environment')
      .argument('<CMD...>', 'behind --, with its arguments')
      .requiredOption('--path <PATH>', 'a file')
      .option('--offset <BYTES>', 'first byte', '0')
      .option('--length <BYTES>', 'default: to the end of the file')
      .option('--access <ACCESS>', 'read or write', 'read')
      .option('--ttl <TIME>', 'renew within this time: seconds, or a number with ms, s or m', '30s')
      .option('-p, --partition <NAME>', 'default: the only one mounted'),
  ).action(async (context) => {
    onExit(await leaseAndRun(context));
  });
}

async function leaseAndRun(context: VerbContext): Promise<number> {
  const { stderr, env } = context.standard;
  const [command, ...args] = context.args.filter((arg) => arg !== undefined);
  if (command === undefined) throw new UsageError('name a command to run, behind --');
  const lease = await acquire(context);
  try {
    const child = spawn(command, args, {
      stdio: 'inherit',
      env: { ...env, ...environmentOf(lease) },
    });
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
    return await exitOf(child, stderr);
  } finally {
    await release(lease);
  }
}

async function acquire(context: VerbContext): Promise<Lease> {
  const { client, options, standard } = context;
  const access = textOption(options, 'access');
  if (access !== 'read' && access !== 'write') {
    throw new UsageError(`--access: "${access}" is neither read nor write`);
  }
  const { partition, path, offset, length } = await lentRange(context);
  const ttlMs = durationMsValue(options['ttl'], '--ttl');
  const daxd = new Daxd({ url: client.url, ...(await credentialsFrom(standard.env)) });
  try {
    return await daxd.lease({ partition, path, offset, length, access, ttlMs });
  } catch (error) {
    throw asVerbError(error);
  }
}

async function release(lease: Lease): Promise<void> {
  try {
    await lease.release();
  } catch (error) {
    throw asVerbError(error);
  }
}

/**
 * What the command finds its lease by.
 *
 * @throws RefusedError E2BIG where it cannot be told of so many extents.
 */
function environmentOf({ id, backingPath, extents }: Lease): Record<string, string> {
  const lease = JSON.stringify({ id, backing_path: backingPath, extents });
  if (lease.length > VARIABLE_BYTES_MAX) {
    const message = `E2BIG: the ${extents.length} extents of the lease are more than an environment holds: lease a shorter range`;
    throw new RefusedError({ code: 'E2BIG' }, message);
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

/** Passes signals on until the command has ended, and gives the exit code of a shell for it. */
async function exitOf(child: ChildProcess, stderr: Writable): Promise<number> {
  const pass = (signal: NodeJS.Signals): void => {
    child.kill(signal);
  };
  for (const signal of SIGNALS) process.on(signal, pass);
  try {
    return await new Promise((resolve) => {
      child.once('error', (error) => {
        const isMissing = 'code' in error && error.code === 'ENOENT';
        stderr.write(`daxd: ${error.message}\n`);
        resolve(isMissing ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
      });
      child.once('exit', (code, signal) => {
        resolve(code ?? EXIT_SIGNAL + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  } finally {
    for (const signal of SIGNALS) process.off(signal, pass);
  }
}

function asVerbError(error: unknown): unknown {
  if (!(error instanceof ClientError)) return error;
  const { code, message, status, problem } = error;
  if (status === undefined) return new UnreachableError(message, { cause: error });
  return new RefusedError(problem ?? { status }, `${code}: ${message}`);
}
