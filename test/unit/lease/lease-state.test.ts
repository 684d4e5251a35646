import t from 'tap';

import { nextLeaseState } from '../../../src/lease/lease-state.js';
import type { LeaseState } from '../../../src/lease/lease-state.js';
import { InvariantError } from '../../../src/lib/assert.js';

const STATES: readonly LeaseState[] = ['active', 'suspect', 'released'];
const EDGES = ['active suspect', 'active released', 'suspect active', 'suspect released'];

t.test(
  'nextLeaseState: lapse, revival and release are edges, everything else breaks',
  async (t) => {
    for (const from of STATES) {
      for (const to of STATES) {
        if (EDGES.includes(`${from} ${to}`)) t.equal(nextLeaseState(from, to), to, `${from} ${to}`);
        else t.throws(() => nextLeaseState(from, to), InvariantError, `${from} ${to}`);
      }
    }
  },
);
