import { setTimeout as sleep } from 'node:timers/promises';

import { systemClock } from '../lib/clock.js';
import type { Clock } from '../lib/clock.js';
import { ClientError } from './client-error.js';

/** How long tries go on, and the pause between two, in milliseconds. */
const INSIST_MS = 10_000;
const PAUSE_MS = 100;

/**
 * Makes a call, and again for ten seconds from when it failed first, where another try may do
 * better. A call that waits may take longer than that before it fails.
 *
 * @param mayPass whether it may.
 * @throws what the last try threw.
 */
export async function insist<Answer>(
  call: () => Promise<Answer>,
  mayPass: (error: ClientError) => boolean,
  clock: Pick<Clock, 'nowMs'> = systemClock,
): Promise<Answer> {
  let untilMs: number | undefined;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ClientError) || !mayPass(error)) throw error;
      untilMs ??= clock.nowMs() + INSIST_MS;
      if (clock.nowMs() > untilMs) throw error;
      await sleep(PAUSE_MS);
    }
  }
}
