import t from 'tap';

import { ClientError } from '../../../src/client/client-error.js';
import { insist } from '../../../src/client/insist.js';

const GONE = new ClientError('ECONNRESET', 'the connection ended');

t.test('insist: ten seconds from the first failure, however long the call took', async (t) => {
  let nowMs = 0;
  let tries = 0;
  const call = async (): Promise<string> => {
    tries++;
    if (tries === 1) nowMs += 60_000;
    if (tries < 3) throw GONE;
    return 'granted';
  };
  const clock = { nowMs: () => nowMs };
  t.equal(await insist(call, () => true, clock), 'granted');
  t.equal(tries, 3);

  const fails = async (): Promise<string> => {
    nowMs += 6_000;
    tries++;
    throw GONE;
  };
  tries = 0;
  await t.rejects(
    insist(fails, () => true, clock),
    GONE,
  );
  t.equal(tries, 3, 'after 6, 12 and 18 seconds');
});

t.test('insist: not where another try does no better', async (t) => {
  let tries = 0;
  const call = async (): Promise<string> => {
    tries++;
    throw GONE;
  };
  await t.rejects(
    insist(call, () => false),
    GONE,
  );
  t.equal(tries, 1);
});
