import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import type { RevokingChange } from '../../../src/lease/revocation.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import { Gate } from '../base/gate.js';
import { ask, setUpLeases } from './set-up.js';

const P = PAGE_SIZE;
const TRUNCATE = { op: 'truncate', deadlineMs: 0, from: 0, to: Infinity, waitedMs: () => 30_000 };

t.test('revokeFor: what one is about to bring into the quarantine is counted', async (t) => {
  const { leases, clock, fs, store } = await setUpLeases();
  const [one, two] = ['one', 'two'].map((path): RevokingChange => {
    const { inode } = fs.create(path, ['ww']);
    return { ...TRUNCATE, id: path, inode };
  });
  fs.quarantine.capBytes = 3 * P;
  const asked = ask({ length: 2 * P, ttlMs: 60_000 });
  const first = await leases.acquire({ ...asked, path: 'one' });
  const second = await leases.acquire({ ...asked, path: 'two' });
  const never = new AbortController().signal;
  const revoke = async (change: RevokingChange | undefined) =>
    change && leases.revocation.revokeFor('pmem0p1', change, never);
  clock.advance(30_000);
  const gate = new Gate();
  store.gate = gate.passed;
  const taken = revoke(one);
  await setImmediate();
  await t.rejects(revoke(two), refusal('quarantine-full'));
  gate.open();
  t.match(await taken, [{ lease: first.id, state: 'quarantined' }]);
  await t.rejects(revoke(two), refusal('quarantine-full'), 'until it has moved them, too');
  t.equal(second.state, 'active', 'whose change is refused loses nothing');

  leases.revocation.ended('one');
  t.equal(fs.quarantine.reservedBytes, 0);
  t.match(await revoke(two), [{ lease: second.id, state: 'quarantined' }]);
});
