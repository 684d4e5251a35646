import t from 'tap';

import { Lease } from '../../../src/lease/lease.js';
import { HOLDERS_NAMED_MAX } from '../../../src/lease/limits.js';
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

t.test('acknowledgements: so many are named', (t) => {
  const clock = new HandClock();
  const recallClock = new RecallClock(clock);
  const standing = { state: 'active', holding: recordOf('a').holding, deadlineMs: 0 } as const;
  for (let i = 0; i <= HOLDERS_NAMED_MAX; i++) {
    const { terms } = recordOf(`lease ${i}`);
    const lease = new Lease(terms, standing, { backingPath: '/x', clock });
    recallClock.acknowledged(lease, [waitsFor(0)], 1_000);
  }
  const named = recallClock.acknowledgements('01A');
  t.equal(named.length, HOLDERS_NAMED_MAX);
  t.strictSame(named[0], { lease: 'lease 0', remaining_ms: 1_000 });
  t.end();
});
