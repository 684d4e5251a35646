import type { Writable } from 'node:stream';

import { Command, CommanderError } from 'commander';

import { DaxdError } from '../lib/errno.js';
import { RefusedError, UnreachableError } from './client.js';
import { isBrokenPipe, print } from './print.js';
import type { Serve } from './serve.js';
import type { Standard } from './standard.js';
import { UsageError } from './usage-error.js';
import { verbRunner } from './verb.js';
import { addAttributeVerbs } from './verbs/attribute-verbs.js';
import { addChangeVerbs } from './verbs/change-verbs.js';
import { addDeviceVerbs } from './verbs/device-verbs.js';
import { addFileVerbs } from './verbs/file-verbs.js';
import { addLeaseVerbs } from './verbs/lease-verbs.js';
import { addNameVerbs } from './verbs/name-verbs.js';
import { addNbdVerbs } from './verbs/nbd-verbs.js';
import { addQuarantineVerbs } from './verbs/quarantine-verbs.js';
import { addXattrVerbs } from './verbs/xattr-verbs.js';

/** What the program is made from. */
export interface ProgramOptions {
  readonly standard: Standard;
  readonly version: string;
  readonly serve: Serve;
}

/** Exit codes; 69 is EX_UNAVAILABLE of sysexits.h. */
const Exit = { Done: 0, Refused: 1, Usage: 2, Unreachable: 69 } as const;

/** What --help says behind the verbs. */
const HELP_END = `
Without a verb daxd serves: see daxd serve --help.

Environment of the other verbs:
  DAXD_URL                      the daemon, as --url; http://127.0.0.1:8470 without both
  DAXD_TOKEN                    what it asks callers for, where it has --token-file
  DAXD_TLS_CERT, DAXD_TLS_KEY   files in PEM, where it has --tls-client-ca
  DAXD_LEASE_SECRET             of the lease that is renewed, released or acknowledged

Exit codes: 0 done, 1 refused, 2 usage, 69 no daemon answers.
`;

/**
 * Runs one command line.
 *
 * @param args without the name of the program.
 * @returns the exit code; what went wrong stands on standard error.
 */
export async function runProgram(
  args: readonly string[],
  options: ProgramOptions,
): Promise<number> {
  const { standard, version, serve } = options;
  let exit: number = Exit.Done;
  const program = new Command('daxd')
    .description("the Linux pmem driver's job, done by one process")
    .version(version)
    .addHelpText('after', HELP_END);
  const onExit = (code: number): void => {
    exit = code;
  };
  const verb = verbRunner(standard);
  addDeviceVerbs(program, verb);
  addFileVerbs(program, verb);
  addChangeVerbs(program, verb);
  addNameVerbs(program, verb);
  addAttributeVerbs(program, verb);
  addXattrVerbs(program, verb);
  addLeaseVerbs(program, verb, onExit);
  addNbdVerbs(program, verb);
  addQuarantineVerbs(program, verb);
  const [first] = args;
  const isClientVerb = program.commands.some((command) => command.name() === first);
  if (!isClientVerb) {
    // Its schema takes longer to load than a call to the daemon takes.
    const { serveCommand } = await import('./serve.js');
    // A verb that is spelt wrongly is no argument of serve.
    const isDefault = first === undefined || first.startsWith('-');
    program.addCommand(serveCommand(serve, onExit), { isDefault });
  }
  const shown: string[] = [];
  for (const command of everyCommand(program)) quieten(command, standard.stderr, shown);

  try {
    refuseReplaced(args);
    await parse(program, args);
    if (shown.length > 0) await print(standard.stdout, shown.join(''));
    return exit;
  } catch (error) {
    return report(error, options);
  }
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

/** Has a command throw where it would end the process, and print to `stderr`, or into `shown`. */
function quieten(command: Command, stderr: Writable, shown: string[]): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => shown.push(text),
    writeErr: (text) => stderr.write(text),
  });
}

/** Node reads the bytes of all arguments that are not UTF-8 as one character: names become one. */
function refuseReplaced(args: readonly string[]): void {
  const replaced = args.find((arg) => arg.includes('\uFFFD'));
  if (replaced === undefined) return;
  const message = `the argument "${replaced}" is not UTF-8, or holds U+FFFD: give it in UTF-8; a name with U+FFFD goes over HTTP, as %EF%BF%BD`;
  throw new UsageError(message);
}

async function parse(program: Command, args: readonly string[]): Promise<void> {
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    // Help and the version end it, too.
    if (!(error instanceof CommanderError) || error.exitCode !== 0) throw error;
  }
}

function report(error: unknown, { standard }: ProgramOptions): number {
  if (error instanceof CommanderError) return Exit.Usage;
  const { stderr } = standard;
  if (error instanceof RefusedError) {
    stderr.write(`daxd: ${error.message}\n`);
    return Exit.Refused;
  }
  if (error instanceof UnreachableError) {
    stderr.write(`daxd: ${error.message}\n`);
    return Exit.Unreachable;
  }
  if (error instanceof UsageError) {
    stderr.write(`daxd: ${error.message}\n`);
    return Exit.Usage;
  }
  // From serve: a namespace that cannot be attached, an address that is taken.
  if (error instanceof DaxdError) {
    stderr.write(`daxd: ${error.code}: ${error.message}\n`);
    return Exit.Refused;
  }
  if (isBrokenPipe(error)) return Exit.Done;
  if (isWriteError(error)) {
    stderr.write(`daxd: cannot print: ${error.message}\n`);
    return Exit.Refused;
  }
  throw error;
}

/** A full disk under standard output, for instance. */
function isWriteError(error: unknown): error is Error {
  return error instanceof Error && 'syscall' in error && error.syscall === 'write';
}
