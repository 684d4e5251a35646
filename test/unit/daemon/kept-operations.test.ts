import { EventEmitter, once } from 'node:events';

import t from 'tap';

import { HeldError } from '../../../src/http/problem.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { settle } from '../../support/settle.js';
import { HandClock } from '../lease/set-up.js';
import { ASKED, begin, ID, MEDIA, never, NEXT_ID, RESULT, setUp, ToyMount } from './set-up.js';

t.test('keep: all of it is durable when it is answered, and gone when it has ended', async (t) => {
  const daemon = setUp(t);
  const { store, disk, operations, clock } = daemon;
  const { keep, durable, end, work, change } = begin(daemon);
  const gate = new EventEmitter();
  store.gate = once(gate, 'open');
  let isAnswered = false;
  const answer = keep().then((operation) => {
    isAnswered = true;
    return operation;
  });
  await settle();
  t.equal(isAnswered, false);
  gate.emit('open');
  t.match(await answer, { id: ID, state: 'waiting' });
  const record = {
    ...ASKED,
    id: ID,
    media: MEDIA,
    generation: 7,
    bootId: 'boot-1',
    startedMs: clock.nowMs() - 3,
    startedWallMs: change.startedWallMs,
    begun: false,
  };
  t.strictSame([...disk.operations.values()], [record]);
  await durable.onBegin();
  t.strictSame([...disk.operations.values()], [{ ...record, begun: true }]);
  store.gate = once(gate, 'open');
  end();
  await settle();
  t.match(await operations.get(ID, 0, never), { done: false }, 'its end is not durable yet');
  gate.emit('open');
  t.strictSame(await work, RESULT);
  t.match(await operations.get(ID, 0, never), { done: true, result: RESULT });
  t.equal(disk.operations.size, 0);
});

t.test('how an operation ended is known to the next daemon, as to this one', async (t) => {
  const daemon = setUp(t);
  const { operations, clock } = daemon;
  // What the toy change is.
  const change = { op: 'truncate', size: 4096 };
  const done = begin(daemon, { change });
  await done.keep();
  await done.durable.onBegin();
  done.end();
  await done.work;
  const refused = begin(daemon, { change }, NEXT_ID);
  for (const { change: toy } of [done, refused]) toy.deadlineMs = ASKED.deadlineMs;
  refused.change.givenUp = 'deadline';
  await refused.keep();
  clock.advance(60_000);
  refused.cancel(new HeldError('deadline', 'pages are pinned by lease a', ['a']));
  await t.rejects(refused.work, { code: 'deadline' });
  const next = setUp(t, daemon.disk, clock);
  await next.kept.restore();
  for (const [id, outcome] of [
    [ID, { done: true, result: RESULT }],
    [NEXT_ID, { done: true, error: { code: 'deadline', status: 504, holders: ['a'] } }],
  ] as const) {
    const seen = await next.operations.get(id, 0, never);
    t.match(seen, outcome);
    const { blocked_by: _, ...known } = await operations.get(id, 0, never);
    t.match(seen, { ...known, waited_ms: Number });
    t.strictSame(await next.operations.cancel(id, never), seen, 'there is nothing to cancel');
  }
  t.strictSame([...next.operations.after('')], []);
  await t.rejects(next.operations.get('none', 0, never), { code: 'ENOENT' });
});

t.test('keep: what has begun ends with its call, and the store hears nothing', async (t) => {
  const daemon = setUp(t);
  const { keep, durable, end, work } = begin(daemon);
  await durable.onBegin();
  t.equal(await keep(), undefined);
  end();
  t.strictSame(await work, RESULT);
  t.equal(daemon.store.commits.length, 0);
});

t.test('a store that fails: the change is given up without a trace', async (t) => {
  const daemon = setUp(t);
  const { store, disk, operations } = daemon;
  const full = new DaxdError('ENOSPC', 'no room');
  const refused = begin(daemon);
  store.failure = full;
  const answer = refused.keep();
  const isBegun = refused.durable.onBegin();
  t.equal(await answer, undefined);
  await t.rejects(isBegun, full, 'the file does not change, where it could have by now');
  store.failure = undefined;
  await t.rejects(refused.work, { code: 'ENOSPC' });
  t.match(await operations.get(ID, 0, never), { error: { code: 'ENOSPC' } });
  t.equal(disk.operations.size, 0);

  const late = begin(daemon, {}, NEXT_ID);
  t.match(await late.keep(), { id: NEXT_ID });
  store.failure = full;
  await t.rejects(late.durable.onBegin(), full, 'nor where it cannot be noted');
  t.equal(disk.operations.get(NEXT_ID)?.begun, false);
});

t.test('a store that fails at the end: what was done is done, what was not says so', async (t) => {
  const daemon = setUp(t);
  const { store, disk, operations } = daemon;
  const done = begin(daemon);
  await done.keep();
  await done.durable.onBegin();
  store.failure = new DaxdError('EIO', 'torn');
  done.end();
  t.strictSame(await done.work, RESULT);
  t.equal(disk.operations.get(ID)?.begun, true, 'nobody runs it again');

  store.failure = undefined;
  const cancelled = begin(daemon, {}, NEXT_ID);
  await cancelled.keep();
  store.failure = new DaxdError('EIO', 'torn');
  cancelled.cancel(new DaxdError('cancelled', 'somebody did'));
  await t.rejects(cancelled.work, { code: 'EIO', message: /queued again after a restart.*torn/ });
  t.match(await operations.get(NEXT_ID, 0, never), { error: { code: 'EIO' } });
});

t.test('drain: what waits stays for the next daemon', async (t) => {
  const daemon = setUp(t);
  const { keep, cancel, work } = begin(daemon);
  await keep();
  cancel(new DaxdError('draining', 'the end'));
  await t.rejects(work, { code: 'draining' });
  t.equal(daemon.disk.operations.size, 1);

  const next = setUp(t, daemon.disk);
  await next.kept.restore();
  next.kept.drain();
  await next.operations.whenNoneKept();
  t.match(await next.operations.get(ID, 0, never), { error: { code: 'draining' } });
  t.equal(next.clock.timers, 0);
  const last = setUp(t, daemon.disk, daemon.clock);
  await last.kept.restore();
  t.match([...last.operations.after('')], [{ id: ID }]);
});

t.test('a crash between the change and its end: it is not run again, and says so', async (t) => {
  const daemon = setUp(t);
  const { keep, durable, end } = begin(daemon);
  await keep();
  await durable.onBegin();
  daemon.store.gate = new Promise(() => {});
  end();
  await settle();

  const next = setUp(t, daemon.disk, daemon.clock);
  await next.kept.restore();
  t.equal(next.disk.operations.size, 0, 'that it has ended is durable before anybody is served');
  next.kept.mounted(next.mount);
  await settle();
  t.strictSame(next.mount.calls, []);
  const ended = await next.operations.get(ID, 0, never);
  t.match(ended, {
    done: true,
    error: { code: 'interrupted', status: 500, detail: /cannot be told.*not run again/ },
  });
  t.strictSame(ended.blocked_by, []);
});

t.test(
  'restore: they wait for their mount, and go on in their order under their ids',
  async (t) => {
    const daemon = setUp(t);
    await begin(daemon, { onConflict: 'defer' }, NEXT_ID).keep();
    const first = begin(daemon);
    await first.keep();
    daemon.clock.advance(1_000);

    const next = setUp(t, daemon.disk, daemon.clock);
    const { operations, kept, mount, clock } = next;
    await kept.restore();
    const [shown] = [...operations.after('')];
    t.match(shown, {
      id: ID,
      op: 'collapse-range',
      offset: 4096,
      end: null,
      blocked_by: ['a lease'],
      started: '2023-11-14T22:13:20.000Z',
      waited_ms: 1_003,
      deadline_ms: 60_000,
    });
    const readOnly = new ToyMount({ readOnly: true });
    kept.mounted(readOnly);
    t.strictSame(readOnly.calls, [], 'nothing can change there');
    kept.mounted(mount);
    t.strictSame(mount.calls, [
      ['collapseRange', 12, 4096, 4096],
      ['collapseRange', 12, 4096, 4096],
    ]);
    const resumed = { startedMs: clock.nowMs() - 1_003, startedWallMs: first.change.startedWallMs };
    t.match(mount.options, [
      { path: 'file', deadlineMs: 60_000, defer: false, resumed: { id: ID, ...resumed } },
      { defer: true, resumed: { id: NEXT_ID } },
    ]);
    kept.mounted(mount);
    t.equal(mount.calls.length, 2, 'once');

    clock.advance(58_996);
    t.match(await operations.get(ID, 0, never), { done: false });
    clock.advance(1);
    await settle();
    t.match(await operations.get(ID, 0, never), { error: { code: 'deadline' } });
    await operations.whenNoneKept();
    t.equal(next.disk.operations.size, 0);
    t.equal(clock.timers, 0);
  },
);

t.test('restore: after a boot its time went on by the wall clock', async (t) => {
  const daemon = setUp(t);
  await begin(daemon).keep();
  const wallMs = 1_700_000_000_000;
  const later = { nowMs: () => 5, wallMs: () => wallMs + 40_000 };
  const disk = { ...daemon.disk, operations: new Map(daemon.disk.operations) };
  const next = setUp(t, disk, Object.assign(new HandClock(), later), 'boot-2');
  await next.kept.restore();
  t.match([...next.operations.after('')], [{ id: ID, waited_ms: 40_000 }]);
  await next.operations.cancel(ID, never);
  t.match(next.store.outcomeOf(ID), { waitedMs: 40_000, bootId: 'boot-2' });
  const back = Object.assign(new HandClock(), { wallMs: () => wallMs - 40_000 });
  const last = setUp(t, daemon.disk, back, 'boot-3');
  await last.kept.restore();
  t.match(
    [...last.operations.after('')],
    [{ id: ID, waited_ms: 0 }],
    'the wall clock was set back',
  );
});

t.test('restore: what is not there any more ends, and says why', async (t) => {
  const daemon = setUp(t);
  await begin(daemon, { partition: 'pmem0p9' }).keep();
  await begin(daemon, {}, NEXT_ID).keep();
  const next = setUp(t, daemon.disk, daemon.clock);
  await next.kept.restore();
  t.match(await next.operations.get(ID, 0, never), {
    error: { code: 'ENOENT', detail: /no pmem0p9 any more/ },
  });
  next.mount.generation = 8;
  next.kept.mounted(next.mount);
  await next.operations.whenNoneKept();
  t.match(await next.operations.get(NEXT_ID, 0, never), {
    error: { code: 'ENOENT', detail: /inode 12, file, is gone: it was removed/ },
  });
  t.strictSame(next.mount.calls, []);
  t.equal(next.disk.operations.size, 0);
});

t.test('cancel: ends one that is parked, durably', async (t) => {
  const daemon = setUp(t);
  await begin(daemon).keep();
  const next = setUp(t, daemon.disk, daemon.clock);
  await next.kept.restore();
  const ended = { id: ID, done: true, error: { code: 'cancelled' } };
  t.match(await next.operations.cancel(ID, never), ended);
  t.equal(next.disk.operations.size, 0, 'it is gone before that is answered');
  t.match(await next.operations.get(ID, 0, never), { error: { code: 'cancelled' } });
  next.kept.mounted(next.mount);
  t.strictSame(next.mount.calls, []);
  t.equal(next.disk.operations.size, 0);
});
