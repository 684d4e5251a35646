import { Command, CommanderError } from 'commander';

import { print } from './print.js';
import { Exit, Reporter } from './report.js';
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
import { addNodeVerbs } from './verbs/node-verbs.js';
import { addOperationVerbs } from './verbs/operation-verbs.js';
import { addPartitionVerbs } from './verbs/partition-verbs.js';
import { addQuarantineVerbs } from './verbs/quarantine-verbs.js';
import { addXattrVerbs } from './verbs/xattr-verbs.js';

/** What the program is made from. */
export interface ProgramOptions {
  readonly standard: Standard;
  readonly version: string;
  readonly serve: Serve;
}

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
  addPartitionVerbs(program, verb);
  addFileVerbs(program, verb);
  addChangeVerbs(program, verb);
  addNameVerbs(program, verb);
  addNodeVerbs(program, verb);
  addAttributeVerbs(program, verb);
  addXattrVerbs(program, verb);
  addLeaseVerbs(program, verb, onExit);
  addOperationVerbs(program, verb);
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
  const reporter = new Reporter(standard.stderr, { json: asksForJson(args) });
  for (const command of everyCommand(program)) quieten(command, reporter, shown);

  try {
    refuseReplaced(args);
    await parse(program, args);
    if (shown.length > 0) await print(standard.stdout, shown.join(''));
    return exit;
  } catch (error) {
    return reporter.report(error);
  }
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

/** Known before the arguments are parsed, which may fail; those of a command that is run are not looked at. */
function asksForJson(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return args.slice(0, end === -1 ? undefined : end).includes('--json');
}

/** Has a command throw where it would end the process, and tell `reporter`, or print into `shown`. */
function quieten(command: Command, reporter: Reporter, shown: string[]): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => shown.push(text),
    writeErr: reporter.takeUsage,
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
