import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import type { Test } from 'tap';

/**
 * Holds the flock of `path` in another process, through flock(1), until the test ends.
 *
 * @returns the pid that holds it.
 */
export async function holdLock(t: Test, path: string): Promise<number> {
  // It runs `cat` without a fork, so the pid that took the lock is the one that dies here.
  const holder = spawn('flock', ['--no-fork', path, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => holder.kill());
  await once(holder.stdout, 'data');
  return holder.pid ?? 0;
}

/** How to run a script: options of Node, and a command that runs the command after it. */
export interface ScriptOptions {
  readonly nodeOptions?: readonly string[];
  readonly under?: readonly string[];
}

/** Runs a script of this folder in a Node process with the loaders of this one. */
export function spawnScript(name: string, options: ScriptOptions, argument: string): ChildProcess {
  const { nodeOptions = [], under = [] } = options;
  const script = fileURLToPath(new URL(name, import.meta.url));
  const node = [process.execPath, ...process.execArgv, ...nodeOptions, script, argument];
  const [command = '', ...args] = [...under, ...node];
  return spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** All that a process prints, and how it ended: an exit status, or a signal. */
export async function outcome(child: ChildProcess): Promise<{ output: string; end: unknown }> {
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { output, end: status ?? signal };
}
