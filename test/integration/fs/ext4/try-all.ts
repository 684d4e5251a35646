import type { Test } from 'tap';

import { DaxdError } from '../../../../src/lib/errno.js';
import { processorMs } from '../../../support/processor-time.js';

/** How much processor time no single operation may take, whatever the media hold. */
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
    const startMs = processorMs();
    try {
      await attempt();
    } catch (error) {
      if (!(error instanceof DaxdError)) throw new Error(title, { cause: error });
      codes.push(error.code);
    }
    if (processorMs() - startMs > OPERATION_MS_MAX) t.fail(`${title}: an operation hangs`);
  }
  return codes;
}
