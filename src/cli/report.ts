import type { Writable } from 'node:stream';

import { CommanderError } from 'commander';

import { DaxdError, systemCodeOf } from '../lib/errno.js';
import { RefusedError, UnreachableError } from './client.js';
import { isBrokenPipe } from './print.js';
import { UsageError } from './usage-error.js';

/** Exit codes; 69 is EX_UNAVAILABLE of sysexits.h. */
export const Exit = { Done: 0, Refused: 1, Usage: 2, Unreachable: 69 } as const;

/** What went wrong; where the daemon refused, all that it answered. */
interface Failure {
  readonly exit: number;
  readonly problem: { readonly code: string; readonly detail: string; readonly status?: unknown };
  /** Said without JSON. */
  readonly message: string;
}

/** The daemon wants a token. */
const UNAUTHORISED = 401;
/** Codes of what no daemon has answered, beside those of the system. */
const USAGE = 'usage';
const UNREACHABLE = 'unreachable';

/** Tells on standard error what went wrong: for people, or as JSON. */
export class Reporter {
  readonly #stderr: Writable;
  readonly #json: boolean;
  #usage = '';

  constructor(stderr: Writable, options: { readonly json: boolean }) {
    this.#stderr = stderr;
    this.#json = options.json;
  }

  /** Takes what the parser says, before it throws. */
  readonly takeUsage = (text: string): void => {
    if (this.#json) this.#usage += text;
    else this.#stderr.write(text);
  };

  /** @returns the exit code. @throws what is none of a user's failures. */
  report(error: unknown): number {
    if (error instanceof CommanderError) {
      if (this.#json) this.#write(usageProblem(this.#usage.replace(/^error: /, '').trim()));
      return Exit.Usage;
    }
    if (isBrokenPipe(error)) return Exit.Done;
    const { exit, problem, message } = failureOf(error);
    if (this.#json) this.#write(problem);
    else this.#stderr.write(`daxd: ${message}\n`);
    return exit;
  }

  #write(problem: object): void {
    this.#stderr.write(`${JSON.stringify(problem)}\n`);
  }
}

function failureOf(error: unknown): Failure {
  if (error instanceof RefusedError) {
    const { problem } = error;
    const advice = problem.status === UNAUTHORISED ? ': a verb takes it from DAXD_TOKEN' : '';
    return { exit: Exit.Refused, problem, message: `${error.message}${advice}` };
  }
  if (error instanceof UnreachableError) {
    const { message } = error;
    return { exit: Exit.Unreachable, problem: { code: UNREACHABLE, detail: message }, message };
  }
  if (error instanceof UsageError) {
    return { exit: Exit.Usage, problem: usageProblem(error.message), message: error.message };
  }
  // From serve: a namespace that cannot be attached, an address that is taken.
  if (error instanceof DaxdError) {
    const { code, message: detail } = error;
    return { exit: Exit.Refused, problem: { code, detail }, message: `${code}: ${detail}` };
  }
  if (isWriteError(error)) {
    const message = `cannot print: ${error.message}`;
    const code = systemCodeOf(error) ?? 'EIO';
    return { exit: Exit.Refused, problem: { code, detail: message }, message };
  }
  throw error;
}

/** A full disk under standard output, for instance. */
function isWriteError(error: unknown): error is Error {
  return error instanceof Error && 'syscall' in error && error.syscall === 'write';
}

function usageProblem(detail: string): Failure['problem'] {
  return { code: USAGE, detail };
}
