import t from 'tap';

import { Lease } from '../../../src/lease/lease.js';
import { RecallClock } from '../../../src/lease/recall-clock.js';
import { recordOf } from '../../integration/lease/records.js';
import { HandClock } from './set-up.js';

const waitsFor = (ms: number) => ({ id: '01A', deadlineMs: 2_000, waitedMs: () => ms });

t.test('restMs: no holder could see a recall before its daemon ran', (t) => {
  const clock = new HandClock();
  const { terms, holding } = recordOf('a');
  const lease = new Lease(
    { ...terms, ttlMs: 9_000 },
    { state: 'reclaimable', holding, deadlineMs: clock.nowMs() + 9_000 },
    { backingPath: '/x', clock },
  );
  const recallClock = new RecallClock(clock);
  t.equal(recallClock.restMs(lease, waitsFor(0)), 5_000, 'a third of the ttl, and its deadline');
  t.equal(recallClock.restMs(lease, waitsFor(60_000)), 5_000, 'it waited for a minute already');
  clock.advance(4_000);
  t.equal(recallClock.restMs(lease, waitsFor(64_000)), 1_000);
  t.equal(recallClock.restMs(lease, waitsFor(1_000)), 4_000, 'one that came later');
  t.end();
});
