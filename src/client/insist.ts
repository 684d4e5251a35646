import { setTimeout as sleep } from 'node:timers/promises';

import { systemClock } from '../lib/clock.js';
import { ClientError } from './client-error.js';

/** How long tries go on, and the pause between two, in milliseconds. */
const INSIST_MS = 10_000;
const PAUSE_MS = 100;

/**
 * Makes a call, again and again for ten seconds where it fails and another try may do better.
 *
 * @param mayPass whether it may.
 * @throws what the last try threw.
 */
export async function insist<Answer>(
  call: () => Promise<Answer>,
  mayPass: (error: ClientError) => boolean,
): Promise<Answer> {
  const untilMs = systemClock.nowMs() + INSIST_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ClientError) || !mayPass(error)) throw error;
      if (systemClock.nowMs() > untilMs) throw error;
      await sleep(PAUSE_MS);
    }
  }
}
