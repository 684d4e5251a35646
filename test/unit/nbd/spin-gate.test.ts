import t from 'tap';

import { SpinGate } from '../../../src/nbd/spin-gate.js';

/** Has batches come, each so many milliseconds after the one before; whether it looks then. */
function batches(gate: SpinGate, count: number, ms: number): boolean {
  for (let i = 0; i < count; i++) gate.took(ms);
  const looks = gate.tryEnter();
  if (looks) gate.leave();
  return looks;
}

t.test('tryEnter: no more look at a time than may', async (t) => {
  const spinners = new Int32Array(new SharedArrayBuffer(4));
  const [first, second] = [new SpinGate(spinners, 1), new SpinGate(spinners, 1)];
  t.ok(first.tryEnter());
  t.notOk(second.tryEnter());
  first.leave();
  t.ok(second.tryEnter());
  second.leave();
  t.equal(spinners[0], 0);
  t.notOk(new SpinGate(spinners, 0).tryEnter(), 'on one processor nobody looks');
});

t.test('took: what was faster goes on, and is tried again later', async (t) => {
  const gate = new SpinGate(new Int32Array(new SharedArrayBuffer(4)), 1);
  t.ok(batches(gate, 63, 0.02), 'the trial with looking');
  t.notOk(batches(gate, 1, 0.02), 'the trial without');
  t.ok(batches(gate, 64, 0.08), 'looking was faster');
  t.ok(batches(gate, 4095, 0.02));
  t.ok(batches(gate, 1, 0.02), 'the next trial with');
  t.notOk(batches(gate, 64, 0.3), 'the next trial without');
  t.notOk(batches(gate, 64, 0.1), 'by now the processors are busy');
});

t.test('took: no faster is not worth a processor, and pauses do not count', async (t) => {
  const gate = new SpinGate(new Int32Array(new SharedArrayBuffer(4)), 1);
  batches(gate, 64, 0.1);
  t.notOk(batches(gate, 64, 0.105));
  batches(gate, 4096, 0.1);
  batches(gate, 63, 0.01);
  batches(gate, 1, 60_000);
  t.ok(batches(gate, 64, 0.1), 'the client paused once, and looking was faster all the same');
});
