import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

import type { Verdict } from '../ext4-image.js';

/**
 * A shell that runs judges, one after the other. To start a program from a process with much
 * memory costs ten times as much as from a small one, and there are thousands to start.
 */
export class JudgeShell {
  readonly #shell: ChildProcessWithoutNullStreams;
  readonly #statuses: AsyncIterator<string>;
  readonly #output: string;

  /** @param output a file that takes what the judges say */
  constructor(output: string) {
    this.#output = output;
    this.#shell = spawn('sh', []);
    this.#statuses = createInterface(this.#shell.stdout)[Symbol.asyncIterator]();
  }

  /** Runs a program to its end; stdout and stderr together. */
  async run(command: string, args: readonly string[]): Promise<Verdict> {
    const line = [command, ...args].map(quote).join(' ');
    this.#shell.stdin.write(`${line} </dev/null >${quote(this.#output)} 2>&1; echo $?\n`);
    const { value, done } = await this.#statuses.next();
    if (done === true) throw new Error(`the shell ended while it ran ${line}`);
    return { status: Number(value), output: readFileSync(this.#output, 'utf8') };
  }

  close(): void {
    this.#shell.stdin.end();
  }
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
