import t from 'tap';

import { SPIN_MS, SpinGate } from '../../../src/nbd/spin-gate.js';

t.test('tryEnter: no more look at a time than may', async (t) => {
  const spinners = new Int32Array(new SharedArrayBuffer(4));
  const [first, second] = [new SpinGate(spinners, 1), new SpinGate(spinners, 1)];
  t.ok(first.tryEnter());
  t.notOk(second.tryEnter());
  first.leave(true);
  t.ok(second.tryEnter());
  second.leave(true);
  t.equal(spinners[0], 0);
});

t.test('leave: looks in vain turn it off, short waits on again', async (t) => {
  const spinners = new Int32Array(new SharedArrayBuffer(4));
  const gate = new SpinGate(spinners, 1);
  for (let i = 0; i < 49; i++) {
    t.ok(gate.tryEnter());
    gate.leave(false);
  }
  t.ok(gate.tryEnter());
  gate.leave(true);
  for (let i = 0; i < 50; i++) {
    t.ok(gate.tryEnter(), 'a find starts the count anew');
    gate.leave(false);
  }
  t.notOk(gate.tryEnter());
  for (let i = 0; i < 19; i++) gate.waited(SPIN_MS / 2);
  gate.waited(SPIN_MS * 2);
  t.notOk(gate.tryEnter(), 'a long wait starts the count anew');
  for (let i = 0; i < 20; i++) gate.waited(SPIN_MS / 2);
  t.ok(gate.tryEnter());
});
