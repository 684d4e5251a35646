import { setImmediate } from 'node:timers/promises';

/**
 * Lets everything go on that can without a timer: a turn of the event loop runs all promise jobs
 * that are ready, and those that they make ready.
 *
 * @param turns how many, 1 or more. More than one where what is waited for goes through the event
 *   loop itself (immediates, system calls in the thread pool).
 */
export async function settle(turns = 1): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await setImmediate();
}
