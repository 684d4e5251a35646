import { access, constants, stat } from 'node:fs/promises';

import { systemClock } from '../lib/clock.js';
import { DaxdError, systemCodeOf } from '../lib/errno.js';
import type { Fence, FenceOutcome } from '../lease/fence.js';
import type { Lease } from '../lease/lease.js';
import { FENCE_MS_MAX } from '../lease/limits.js';
import { RunningProgram } from './fence-program.js';
import type { ProgramEnd } from './fence-program.js';
import { FenceTurns } from './fence-turns.js';

/**
 * Up to how long DAXD_EXTENTS is set, in characters: the kernel starts nothing with a variable of
 * 128 KiB, nor, where the limit of the stack is low, with 128 KiB in all (execve(2)).
 */
const EXTENTS_VARIABLE_MAX = 64 * 1024;

const STOPPED: FenceOutcome = { isFenced: false, detail: 'daxd ends: the next one tries again' };

/**
 * Fences holders by a program of the operator's: exit 0 says that no device of the holder
 * reaches the pages of the lease any more. It is run without a shell as
 * `PROGRAM LEASE [CLIENT]`, the client only where its name does not look like an option, with the
 * lease as JSON on its standard input, with DAXD_LEASE_ID, DAXD_CLIENT, DAXD_PID, DAXD_CGROUP and
 * DAXD_EXTENTS (offset:length in the backing, with commas; absent where that is too long) in its
 * environment, and killed with all that it started after
 * FENCE_MS_MAX. How many run at a time is for {@link FenceTurns}.
 */
export class FenceCommand implements Fence {
  readonly #program: string;
  readonly #limitMs: number;
  #stopped = false;
  readonly #turns = new FenceTurns();
  readonly #running = new Set<RunningProgram>();

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
    // Of leases that name no client nothing says that they are of one.
    const client = lease.terms.client ?? lease.id;
    await this.#turns.take(client);
    try {
      return this.#stopped ? STOPPED : await this.#run(lease);
    } finally {
      this.#turns.give(client);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const program of this.#running) program.kill();
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
    const args = argumentsOf(lease);
    const input = `${JSON.stringify(inputOf(lease))}\n`;
    const call = { args, env: environmentOf(lease), input };
    const program = new RunningProgram(this.#program, call);
    let isLate = false;
    const cancel = systemClock.setTimer(() => {
      isLate = true;
      program.kill();
    }, this.#limitMs);
    this.#running.add(program);
    try {
      const end = await program.ended;
      if (end.exit === 0) return { isFenced: true, detail: end.said };
      if (this.#stopped) return STOPPED;
      return { isFenced: false, detail: this.#whyNot(end, isLate) };
    } finally {
      cancel();
      this.#running.delete(program);
    }
  }

  #whyNot({ exit, signal, said }: ProgramEnd, isLate: boolean): string {
    const words = said === '' ? '' : `: ${said}`;
    if (isLate) return `killed after ${this.#limitMs} ms${words}`;
    return exit === undefined ? `ended by ${signal}${words}` : `exit ${exit}${words}`;
  }
}

/** A client that calls itself `--help` would have most programs exit 0 without a look at it. */
function argumentsOf({ id, terms: { client } }: Lease): string[] {
  return client === undefined || client.startsWith('-') ? [id] : [id, client];
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
