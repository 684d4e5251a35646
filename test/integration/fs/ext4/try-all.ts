import type { Test } from 'tap';

import { systemClock } from '../../../../src/lib/clock.js';
import { DaxdError } from '../../../../src/lib/errno.js';

/** How long no single operation may take, whatever the media hold. */
const OPERATION_MS_MAX = 1000;

/**
 * Makes attempts one after the other, each of which may fail with a DaxdError only, and in
 * time; gives the codes of those that failed.
 */
export async function tryAll(
  t: Test,
  title: string,
  attempts: readonly (() => unknown)[],
): Promise<string[]> {
  const codes: string[] = [];
  for (const attempt of attempts) {
    const startMs = systemClock.nowMs();
    try {
      await attempt();
    } catch (error) {
      if (!(error instanceof DaxdError)) throw new Error(title, { cause: error });
      codes.push(error.code);
    }
    if (systemClock.nowMs() - startMs > OPERATION_MS_MAX) t.fail(`${title}: an operation hangs`);
  }
  return codes;
}
