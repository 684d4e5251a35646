import { execFile } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';

import { DaxdError, systemCodeOf } from '../lib/errno.js';
import type { Fence, FenceOutcome } from '../lease/fence.js';
import type { Lease } from '../lease/lease.js';
import { FENCE_MS_MAX, FENCES_MAX } from '../lease/limits.js';

/** Where a fence command finds others: not where whoever started daxd did. */
const COMMAND_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Of what a command prints, that much is kept, in characters. */
const OUTPUT_MAX = 1024;
/**
 * Up to how long DAXD_EXTENTS is set, in characters: the kernel starts nothing with a variable of
 * 128 KiB, nor, where the limit of the stack is low, with 128 KiB in all (execve(2)).
 */
const EXTENTS_VARIABLE_MAX = 64 * 1024;

/**
 * Fences holders by a program of the operator's: exit 0 says that no device of the holder
 * reaches the pages of the lease any more. It is run without a shell as
 * `PROGRAM LEASE [CLIENT]`, with the lease as JSON on its standard input, with DAXD_LEASE_ID,
 * DAXD_CLIENT, DAXD_PID, DAXD_CGROUP and DAXD_EXTENTS (offset:length in the backing, with commas;
 * absent where that is too long) in its environment, and killed after FENCE_MS_MAX. At most
 * FENCES_MAX run at a time, so that one holder cannot hold up others for long, nor a crowd of
 * them the machine.
 */
export class FenceCommand implements Fence {
  readonly #program: string;
  readonly #limitMs: number;
  #running = 0;
  #stopped = false;
  readonly #waiting: (() => void)[] = [];

  private constructor(program: string, limitMs: number) {
    this.#program = program;
    this.#limitMs = limitMs;
  }

  /** @throws DaxdError ENOENT, EACCES where there is no program that may be run. */
  static async open(
    program: string,
    { limitMs = FENCE_MS_MAX }: { readonly limitMs?: number } = {},
  ): Promise<FenceCommand> {
    try {
      await access(program, constants.X_OK);
      // The bit of a directory says something else.
      if ((await stat(program)).isFile()) return new FenceCommand(program, limitMs);
    } catch (error) {
      const isAbsent = systemCodeOf(error) === 'ENOENT';
      throw notRunnable(isAbsent ? 'ENOENT' : 'EACCES', program, error);
    }
    throw notRunnable('EACCES', program);
  }

  async fence(lease: Lease): Promise<FenceOutcome> {
    if (this.#running === FENCES_MAX) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    } else {
      this.#running++;
    }
    try {
      if (this.#stopped) return { isFenced: false, detail: 'daxd ends: the next one tries again' };
      return await this.#run(lease);
    } finally {
      // The next one takes the place over.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  /** A program that does not start proves nothing, whatever the reason: it is tried again. */
  async #run(lease: Lease): Promise<FenceOutcome> {
    try {
      return await this.#runProgram(lease);
    } catch (error) {
      // Thrown for NUL in an argument (ERR_INVALID_ARG_VALUE), ETXTBSY, E2BIG, ENOMEM and others.
      const why = error instanceof Error ? error.message : String(error);
      return { isFenced: false, detail: `${this.#program} was not started: ${why}` };
    }
  }

  /** Rejects where the program cannot even be tried. */
  async #runProgram(lease: Lease): Promise<FenceOutcome> {
    const { client } = lease.terms;
    const args = client === undefined ? [lease.id] : [lease.id, client];
    const options = {
      timeout: this.#limitMs,
      killSignal: 'SIGKILL',
      env: environmentOf(lease),
    } as const;
    return new Promise((resolve) => {
      const { stdin } = execFile(this.#program, args, options, (error, out, err) => {
        const said = `${out}${err}`.trim().slice(0, OUTPUT_MAX);
        if (error === null) resolve({ isFenced: true, detail: said });
        else resolve({ isFenced: false, detail: this.#whyNot(error, said) });
      });
      // One that does not read it (EPIPE) may have fenced all the same: its exit says so.
      stdin?.on('error', () => {});
      stdin?.end(`${JSON.stringify(inputOf(lease))}\n`);
    });
  }

  #whyNot(error: Error & { code?: unknown; killed?: boolean }, said: string): string {
    const words = said === '' ? '' : `: ${said}`;
    if (error.killed === true) return `killed after ${this.#limitMs} ms${words}`;
    if (typeof error.code === 'number') return `exit ${error.code}${words}`;
    return error.message;
  }
}

/** What a command reads, however many extents there are. */
function inputOf({ id, terms, runs }: Lease): object {
  return {
    lease: id,
    client: terms.client,
    pid: terms.holder?.pid,
    cgroup: terms.holder?.cgroup,
    extents: runs.map(({ deviceOffset, length }) => ({ device_offset: deviceOffset, length })),
  };
}

function environmentOf({ id, terms, runs }: Lease): Record<string, string | undefined> {
  const extents = runs.map(({ deviceOffset, length }) => `${deviceOffset}:${length}`).join(',');
  return {
    PATH: COMMAND_PATH,
    DAXD_LEASE_ID: id,
    DAXD_CLIENT: terms.client,
    DAXD_PID: terms.holder?.pid?.toString(),
    DAXD_CGROUP: terms.holder?.cgroup,
    DAXD_EXTENTS: extents.length > EXTENTS_VARIABLE_MAX ? undefined : extents,
  };
}

function notRunnable(code: 'EACCES' | 'ENOENT', program: string, cause?: unknown): DaxdError {
  return new DaxdError(
    code,
    `--fence-command ${program} cannot be run: name a program with its execute bit set`,
    { cause },
  );
}
