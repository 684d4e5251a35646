import type { ChildProcess } from 'node:child_process';

/** Passed on to the command, which decides what they mean. */
const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const;

/**
 * Keeps signals from ending this process until it is stopped. They go to a command while one
 * runs; of others the first is noted, and the second ends the process after all.
 */
export class SignalRelay {
  #command: ChildProcess | undefined;
  #noted: NodeJS.Signals | undefined;

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#take);
  }

  /** The signal that came while no command ran. */
  get noted(): NodeJS.Signals | undefined {
    return this.#noted;
  }

  /** Where signals go from here on; undefined: nowhere. */
  passTo(command: ChildProcess | undefined): void {
    this.#command = command;
  }

  /** Signals do again what they do to any process. */
  stop(): void {
    for (const signal of SIGNALS) process.off(signal, this.#take);
  }

  readonly #take = (signal: NodeJS.Signals): void => {
    if (this.#command !== undefined) this.#command.kill(signal);
    else if (this.#noted === undefined) this.#noted = signal;
    else {
      // What is still to be done may wait for a daemon that does not answer.
      this.stop();
      process.kill(process.pid, signal);
    }
  };
}
