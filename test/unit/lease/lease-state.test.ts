import t from 'tap';

import { hasEnded, nextLeaseState } from '../../../src/lease/lease-state.js';
import type { LeaseState } from '../../../src/lease/lease-state.js';
import { InvariantError } from '../../../src/lib/assert.js';

const STATES: readonly LeaseState[] = [
  'active',
  'suspect',
  'reclaimable',
  'quarantined',
  'released',
  'revoked',
];
const EDGES = [
  'active suspect',
  'active quarantined',
  'active released',
  'suspect active',
  'suspect quarantined',
  'suspect released',
  'reclaimable active',
  'reclaimable suspect',
  'reclaimable quarantined',
  'reclaimable released',
  'quarantined released',
  'quarantined revoked',
];

t.test('nextLeaseState: these are the edges, everything else breaks', async (t) => {
  for (const from of STATES) {
    for (const to of STATES) {
      if (EDGES.includes(`${from} ${to}`)) t.equal(nextLeaseState(from, to), to, `${from} ${to}`);
      else t.throws(() => nextLeaseState(from, to), InvariantError, `${from} ${to}`);
    }
  }
});

t.test('hasEnded: of those that pin nothing', async (t) => {
  t.strictSame(
    STATES.filter((state) => hasEnded(state)),
    ['released', 'revoked'],
  );
});
