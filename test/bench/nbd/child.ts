import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** How long a program may take that is not told for how long to run, in milliseconds. */
export const RUN_MS_MAX = 60_000;

/**
 * Runs a program to its end and gives back what it printed on stdout.
 *
 * @throws Error with its stderr when it fails, or is not done in time.
 */
export async function outputOf(
  command: string,
  args: readonly string[],
  timeout = RUN_MS_MAX,
): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}
