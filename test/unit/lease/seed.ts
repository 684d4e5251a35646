import { randomInt } from 'node:crypto';

/** The seed of this run's random tests: DAXD_TEST_SEED, or a new one. Print it. */
export function propertySeed(): number {
  const given = process.env['DAXD_TEST_SEED'];
  return given === undefined || given === '' ? randomInt(2 ** 31) : Number(given);
}
