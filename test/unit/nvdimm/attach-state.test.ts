import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { AttachLife, type AttachState, nextAttachState } from '../../../src/nvdimm/attach-state.js';

const states = ['detached', 'attaching', 'attached', 'detaching'] as const;
const edges = new Set([
  'detached attaching',
  'attaching attached',
  'attaching detaching',
  'attached detaching',
  'detaching detached',
]);

t.test('nextAttachState: passes the edges of the picture and no other', async (t) => {
  for (const from of states) {
    for (const to of states) {
      if (edges.has(`${from} ${to}`)) t.equal(nextAttachState(from, to), to);
      else t.throws(() => nextAttachState(from, to), InvariantError, `${from} -> ${to}`);
    }
  }
});

t.test('AttachLife: begins detached and stays where an edge is refused', async (t) => {
  const life = new AttachLife();
  t.equal(life.state, 'detached');
  t.throws(() => {
    life.to('attached');
  }, InvariantError);
  const after: AttachState = life.state;
  t.equal(after, 'detached');
});
