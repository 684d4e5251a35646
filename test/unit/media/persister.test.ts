import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import type { Clock } from '../../../src/lib/clock.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { Mapping } from '../../../src/media/mapping.js';
import { Persister, type PersistView } from '../../../src/media/persister.js';
import { Gate } from '../base/gate.js';

const WINDOW = 16;
const WINDOWS = 6;

/** A persister over six windows of 16 bytes, with a clock that stands still until it is set. */
function setUp(persistView: PersistView | undefined, granularityBytes = 4) {
  const memory = Buffer.alloc(WINDOW * WINDOWS);
  const windows = Array.from({ length: WINDOWS }, (_, i) =>
    memory.subarray(i * WINDOW, (i + 1) * WINDOW),
  );
  const mapping = new Mapping({ windows, readOnly: false, windowBytes: WINDOW });
  const time = { ms: 0 };
  const clock: Clock = { nowMs: () => time.ms, wallMs: () => 0, setTimer: () => () => {} };
  const path = 'media';
  const persister = new Persister({ path, mapping, persistView, granularityBytes, clock });
  /** Where a view lies in the mapping, as [start, end). */
  const place = (view: Buffer): number[] => {
    const start = view.byteOffset - memory.byteOffset;
    return [start, start + view.length];
  };
  return { persister, place, time };
}

t.test('persist: rounds out to the granularity, with one call a window', async (t) => {
  const seen: Buffer[] = [];
  const { persister, place } = setUp(async (view) => void seen.push(view));
  await persister.persist(13, 20);
  t.strictSame(seen.map(place), [
    [12, 16],
    [16, 32],
    [32, 36],
  ]);
});

t.test('persist: of nothing calls nothing and counts nothing', async (t) => {
  let calls = 0;
  const { persister } = setUp(async () => void calls++);
  await persister.persist(13, 0);
  t.equal(calls, 0);
  t.equal(persister.latency.count, 0);
});

t.test('persist: without a way to persist settles and counts nothing', async (t) => {
  const { persister } = setUp(undefined);
  await persister.persist(0, 96);
  t.equal(persister.latency.count, 0);
});

t.test('persist: a range outside breaks an invariant', async (t) => {
  const { persister } = setUp(async () => {});
  for (const [offset, length] of [
    [-1, 1],
    [95, 2],
    [0, -1],
  ] as const) {
    await t.rejects(persister.persist(offset, length), InvariantError);
  }
  await persister.shut();
});

t.test('persist: a failure is EIO with its cause, after every window was tried', async (t) => {
  const full = new DaxdError('ENOSPC', 'msync of 16 bytes failed with ENOSPC');
  let calls = 0;
  const { persister } = setUp(async () => {
    if (calls++ === 0) throw full;
  });
  await t.rejects(persister.persist(0, 48), {
    name: 'DaxdError',
    code: 'EIO',
    message: /media: bytes \[0, 48\) may not be durable, msync .* ENOSPC/,
    cause: full,
  });
  t.equal(calls, 3);
  t.equal(persister.latency.count, 0, 'only what became durable is timed');
  await t.rejects(persister.persist(0, 1), { code: 'EIO', cause: full }, 'nor any later one');
  t.equal(persister.latency.count, 0);
});

t.test('persist: of two under way none is durable where one fails', async (t) => {
  const gate = new Gate();
  let calls = 0;
  const { persister } = setUp(async () => {
    if (calls++ === 0) return;
    await gate.passed;
    throw new DaxdError('EIO', 'msync failed with EIO');
  });
  // The one whose page was lost is done first, and the other hears of it.
  const lost = persister.persist(0, 1);
  const told = persister.persist(16, 1);
  gate.open();
  await t.rejects(lost, { code: 'EIO', message: /\[0, 1\) may not be durable/ });
  await t.rejects(told, { code: 'EIO' });
});

t.test('persist: a broken invariant is not taken for a disk that fails', async (t) => {
  const { persister } = setUp(async () => {
    throw new InvariantError('on cue');
  });
  await t.rejects(persister.persist(0, 1), InvariantError);
});

t.test('persist: at most three calls at a time, in the order of asking', async (t) => {
  const started: number[] = [];
  const gates = Array.from({ length: WINDOWS }, () => new Gate());
  const { persister, place } = setUp(async (view) => {
    const window = (place(view)[0] ?? 0) / WINDOW;
    started.push(window);
    await gates[window]?.passed;
  });
  const whole = persister.persist(0, WINDOW * WINDOWS);
  await new Promise(setImmediate);
  t.strictSame(started, [0, 1, 2]);
  gates[1]?.open();
  await new Promise(setImmediate);
  t.strictSame(started, [0, 1, 2, 3]);
  gates[0]?.fail(new DaxdError('EIO', 'a failure gives its place up too'));
  await new Promise(setImmediate);
  t.strictSame(started, [0, 1, 2, 3, 4]);
  for (const gate of gates) gate.open();
  await t.rejects(whole, { name: 'DaxdError', code: 'EIO' });
  t.strictSame(started, [0, 1, 2, 3, 4, 5]);
});

t.test('latency: seconds from the call until the last window', async (t) => {
  const gate = new Gate();
  const { persister, time } = setUp(() => gate.passed);
  const persisted = persister.persist(0, 32);
  time.ms = 250;
  gate.open();
  await persisted;
  t.equal(persister.latency.count, 1);
  t.equal(persister.latency.sumSeconds, 0.25);
});

t.test('shut: waits for persists under way and refuses later ones', async (t) => {
  const gate = new Gate();
  const { persister } = setUp(() => gate.passed);
  const order: string[] = [];
  const persisted = persister.persist(0, 1).then(() => order.push('persisted'));
  const shut = persister.shut().then(() => order.push('shut'));
  await t.rejects(persister.persist(0, 1), InvariantError);
  t.strictSame(order, []);
  gate.open();
  await Promise.all([persisted, shut]);
  t.strictSame(order, ['persisted', 'shut']);
});
