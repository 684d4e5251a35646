import { randomInt } from 'node:crypto';

import type { Test } from 'tap';

/** How many times more `npm run test:long` does of everything random. */
const LONG_FACTOR = 20;

/** The seed of a random test: DAXD_TEST_SEED, or a new one. Printed, to run a failure again. */
export function testSeed(t: Test): number {
  const given = process.env['DAXD_TEST_SEED'];
  const seed = given === undefined || given === '' ? randomInt(2 ** 31) : Number(given);
  t.comment(`DAXD_TEST_SEED=${seed}`);
  return seed;
}

/**
 * How often to do a random thing: `count` times, and in `npm run test:long` `long` times, where
 * a number was not given many times more.
 */
export function times(count: number, long = count * LONG_FACTOR): number {
  return process.env['DAXD_TEST_LONG'] === '1' ? long : count;
}
