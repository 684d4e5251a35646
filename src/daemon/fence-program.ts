import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

import { systemClock } from '../lib/clock.js';

/** Where a fence command finds others: not where whoever started daxd did. */
const COMMAND_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Of what a command prints, that much is kept, in characters. */
const OUTPUT_MAX = 1024;
/** How long after the end of a command its output is waited for: what it left running may hold it. */
const OUTPUT_MS_MAX = 200;

/** What a program is run with. */
export interface ProgramCall {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For its standard input. */
  readonly input: string;
}

/** How a program ended. */
export interface ProgramEnd {
  /** Undefined where a signal ended it. */
  readonly exit: number | undefined;
  readonly signal: string | undefined;
  /** The beginning of what it printed, on both outputs. */
  readonly said: string;
}

/** One run of a program, in a process group of its own. */
export class RunningProgram {
  readonly #child: ChildProcess;
  /** Settles when it has ended; rejects where it was not started. */
  readonly ended: Promise<ProgramEnd>;

  /** @throws what spawn does of arguments that none can have. */
  constructor(program: string, { args, env, input }: ProgramCall) {
    // Where there is no descriptor left it has no pipes at all, and says so with an error.
    const child: ChildProcess = spawn(program, args, {
      env: { PATH: COMMAND_PATH, ...env },
      detached: true,
    });
    this.#child = child;
    const said = beginningOf(child);
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (exit, signal) => {
        const end = (): void => {
          cancel();
          child.stdout?.destroy();
          child.stderr?.destroy();
          resolve({ exit: exit ?? undefined, signal: signal ?? undefined, said: said() });
        };
        const cancel = systemClock.setTimer(end, OUTPUT_MS_MAX);
        child.once('close', end);
      });
    });
    // One that does not read it (EPIPE) may have done its work all the same: its exit says so.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  }

  /** Ends it, and all that it started in its process group. */
  kill(): void {
    const { pid } = this.#child;
    if (pid === undefined || this.#child.exitCode !== null) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // ESRCH: it has ended meanwhile.
    }
  }
}

/** All of the output is read, so that no program stands still for it. */
function beginningOf({ stdout, stderr }: ChildProcess): () => string {
  let text = '';
  for (const stream of [stdout, stderr]) {
    stream?.setEncoding('utf8').on('data', (piece: string) => {
      if (text.length < OUTPUT_MAX) text += piece;
    });
  }
  return () => text.trim().slice(0, OUTPUT_MAX);
}
