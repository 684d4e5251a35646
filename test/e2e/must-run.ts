import type { Test } from 'tap';

import { runJudge } from '../support/ext4-image.js';

/** Runs a program that must succeed; what it printed. */
export function mustRun(t: Test, command: string, ...args: string[]): string {
  const { status, output } = runJudge(command, args);
  t.equal(status, 0, `${command} ${args.join(' ')}: ${output}`);
  return output;
}
