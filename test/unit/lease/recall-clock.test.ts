import t from 'tap';

import { Lease } from '../../../src/lease/lease.js';
import { HOLDERS_NAMED_MAX } from '../../../src/lease/limits.js';
import { RecallClock } from '../../../src/lease/recall-clock.js';
import { recordOf } from '../../integration/lease/records.js';
import { HandClock } from './set-up.js';

const raisedAt = (raisedMs: number) => ({ id: '01A', deadlineMs: 2_000, raisedMs });
const earlier = { isEarlier: () => true };

/** A lease whose holder has three seconds to renew. */
function leaseOf(clock: HandClock, grantedMs: number): Lease {
  const { terms, holding } = recordOf('a');
  return new Lease(
    { ...terms, ttlMs: 9_000, grantedMs },
    { state: 'reclaimable', holding, deadlineMs: clock.nowMs() + 9_000 },
    { backingPath: '/x', clock },
  );
}

t.test('restMs: a third of the ttl from when the barrier went up, and the deadline', async (t) => {
  const clock = new HandClock();
  const lease = leaseOf(clock, clock.nowMs() + 1e9);
  const raised = raisedAt(clock.nowMs());
  const recallClock = new RecallClock(clock, earlier);
  t.equal(recallClock.restMs(lease, raised), 5_000, 'its times are those of another boot');
  clock.advance(4_000);
  t.equal(recallClock.restMs(lease, raised), 1_000);
  t.equal(recallClock.restMs(lease, raisedAt(clock.nowMs() - 1_000)), 4_000, 'one that came later');
});

t.test('restMs: a lease that was granted behind a change that waited already', async (t) => {
  const clock = new HandClock();
  const raised = raisedAt(clock.nowMs());
  clock.advance(60_000);
  const lease = leaseOf(clock, clock.nowMs());
  const recallClock = new RecallClock(clock, { isEarlier: () => false });
  t.equal(recallClock.restMs(lease, raised), 5_000, 'nobody could tell its holder before');
  clock.advance(4_000);
  t.equal(recallClock.restMs(lease, raised), 1_000);
});

t.test('acknowledgements: so many are named', (t) => {
  const clock = new HandClock();
  const recallClock = new RecallClock(clock, earlier);
  const standing = { state: 'active', holding: recordOf('a').holding, deadlineMs: 0 } as const;
  for (let i = 0; i <= HOLDERS_NAMED_MAX; i++) {
    const { terms } = recordOf(`lease ${i}`);
    const lease = new Lease(terms, standing, { backingPath: '/x', clock });
    recallClock.acknowledged(lease, [raisedAt(0)], 1_000);
  }
  const named = recallClock.acknowledgements('01A');
  t.equal(named.length, HOLDERS_NAMED_MAX);
  t.strictSame(named[0], { lease: 'lease 0', remaining_ms: 1_000 });
  t.end();
});
