import { EventEmitter, once } from 'node:events';

import t from 'tap';

import { Operations } from '../../../src/daemon/operations.js';
import type { LayoutChanged } from '../../../src/http/schemas/file.js';
import { DaxdError } from '../../../src/lib/errno.js';
import type { RingEvent } from '../../../src/lib/event-ring.js';
import type { LogFields } from '../../../src/lib/logger.js';
import { settle } from '../../support/settle.js';
import { MemoryStore } from '../lease/memory-store.js';
import { HandClock } from '../lease/set-up.js';
import { ToyChange } from './toy-change.js';

function setUp(finishedMax = 10) {
  const clock = new HandClock();
  const lines: { fields: LogFields; message: string }[] = [];
  const log = (fields: LogFields, message: string): void => {
    lines.push({ fields, message });
  };
  const events: RingEvent[] = [];
  const fatal: Error[] = [];
  const blocked: string[] = [];
  const operations = new Operations({
    clock,
    log: { debug: log, info: log, warn: log, error: log },
    finishedMax,
    store: new MemoryStore(),
    blockedBy: (partition, inode, from, to) => [`${partition}/${inode}/${from}/${to}`],
    recalls: (change, leases) =>
      leases.map((lease) => ({
        lease,
        client: 'nic0',
        operation: change.id,
        op: change.op,
        ranges: [{ offset: change.from, length: 1 }],
        deadline_ms: change.deadlineMs,
      })),
    acknowledgements: () => [],
    onBlocked: (partition, { id }) => blocked.push(`${partition} ${id}`),
    onUnblocked: ({ id }) => blocked.push(`ended ${id}`),
    events: { push: (name, fields) => events.push({ name, fields }) },
    onFatal: (error) => fatal.push(error),
  });
  return { clock, lines, events, fatal, blocked, operations };
}

const never = new AbortController().signal;

t.test('list: what waits, for whom, and not what is over', async (t) => {
  const { operations } = setUp();
  const change = new ToyChange('01A');
  operations.track('pmem0p1', change);
  change.waited = 12.5;
  t.strictSame(
    [...operations.after('')],
    [
      {
        id: '01A',
        op: 'truncate',
        done: false,
        state: 'waiting',
        partition: 'pmem0p1',
        inode: 12,
        path: 'file',
        offset: 4096,
        end: null,
        started: '2023-11-14T22:13:20.000Z',
        waited_ms: 12.5,
        acknowledged: [],
        blocked_by: ['pmem0p1/12/4096/Infinity'],
      },
    ],
  );
  t.strictSame([...operations.pending()], [change]);
  t.strictSame(operations.holdersOf('01A'), ['pmem0p1/12/4096/Infinity']);
  t.strictSame(operations.holdersOf('01B'), []);
  change.state = 'broken';
  t.strictSame([...operations.after('')], []);
  t.strictSame(operations.holdersOf('01A'), []);
  t.strictSame([...operations.pending()], []);
});

t.test('get: answers at once, at the end, after the time, or when the asker leaves', async (t) => {
  const { operations, clock } = setUp();
  const change = new ToyChange('01A');
  operations.track('pmem0p1', change);
  t.match(await operations.get('01A', 0, never), { done: false });

  let answers = 0;
  const poll = (waitMs: number, signal = never) =>
    operations.get('01A', waitMs, signal).then((operation) => {
      answers++;
      return operation;
    });
  const timed = poll(1_000);
  const long = poll(60_000);
  const gone = new AbortController();
  const left = poll(60_000, gone.signal);
  await settle();
  t.equal(answers, 0);
  clock.advance(1_000);
  t.match(await timed, { done: false });
  gone.abort();
  t.match(await left, { done: false });
  t.equal(answers, 2);

  change.state = 'broken';
  await settle();
  t.equal(answers, 2, 'the file is being changed');
  change.state = 'ended';
  change.wasBroken = true;
  operations.ended(change);
  const ended = await long;
  t.match(ended, { done: true, state: 'ended', outcome: 'done' });
  t.strictSame(ended.blocked_by, []);
  t.match(await operations.get('01A', 60_000, never), { done: true }, 'it is remembered');
  t.equal(clock.timers, 0, 'nobody looks again, no timer is left');
});

t.test('get and cancel: what never waited is ENOENT', async (t) => {
  const { operations } = setUp();
  await t.rejects(operations.get('01A', 0, never), { code: 'ENOENT' });
  await t.rejects(operations.cancel('01A', never), { code: 'ENOENT' });
});

t.test('cancel: shows the operation when it has ended, or its client is gone', async (t) => {
  const { operations } = setUp();
  const change = new ToyChange('01A');
  operations.track('pmem0p1', change);
  const cancelled = operations.cancel('01A', never);
  t.equal(change.cancelled, true);
  const gone = new AbortController();
  const unheard = operations.cancel('01A', gone.signal);
  gone.abort();
  t.match(await unheard, { done: false });
  change.state = 'ended';
  operations.ended(change);
  t.match(await cancelled, { done: true, state: 'ended' });
  t.match(await operations.cancel('01A', never), { done: true }, 'nothing is left to cancel');
});

t.test('finished: the oldest is forgotten first', async (t) => {
  const { operations } = setUp(1);
  for (const id of ['01A', '01B']) {
    const change = new ToyChange(id);
    operations.track('pmem0p1', change);
    change.state = 'ended';
    operations.ended(change);
  }
  t.match(await operations.get('01B', 0, never), { done: true });
  await t.rejects(operations.get('01A', 0, never), { code: 'ENOENT' });
});

t.test('log: a wait of over a second, with its id, and its end', async (t) => {
  const { operations, clock, lines } = setUp();
  const quick = new ToyChange('01A');
  const slow = new ToyChange('01B');
  operations.track('pmem0p1', quick);
  operations.track('pmem0p1', slow);
  quick.state = 'ended';
  operations.ended(quick);
  clock.advance(1_000);
  slow.waited = 2_000;
  slow.state = 'ended';
  slow.wasBroken = true;
  operations.ended(slow);
  t.match(
    lines.map(({ fields, message }) => [fields['operation'], message]),
    [
      ['01B', /over a second/],
      ['01B', /ended/],
    ],
  );
  t.equal(clock.timers, 0, 'no timer is left');
});

t.test(
  'events: a wait that is one is told of, with a recall for each holder, and its end',
  async (t) => {
    const { operations, events } = setUp();
    const idle = new ToyChange('01A');
    operations.track('pmem0p1', idle);
    idle.state = 'ended';
    operations.ended(idle);
    t.strictSame(events, [], 'it waited for nobody');

    const hasty = new ToyChange('01B');
    hasty.deadlineMs = 0;
    operations.track('pmem0p1', hasty);
    operations.waits(hasty);
    operations.ended(hasty);
    t.strictSame(events, [], 'it would not wait');

    const change = new ToyChange('01C');
    change.deadlineMs = 5_000;
    operations.track('pmem0p1', change);
    t.strictSame(events, [], 'its barrier is up, nothing else');
    operations.waits(change);
    const lease = 'pmem0p1/12/4096/Infinity';
    t.match(events.splice(0), [
      { name: 'operation.started', fields: { id: '01C', state: 'waiting', blocked_by: [lease] } },
      { name: 'recall', fields: { lease, operation: '01C', op: 'truncate', deadline_ms: 5_000 } },
    ]);
    change.state = 'ended';
    change.givenUp = 'deadline';
    operations.ended(change);
    t.match(events, [{ name: 'operation.ended', fields: { id: '01C', outcome: 'deadline' } }]);
  },
);

t.test('keep: it ends with its work, and shows how', async (t) => {
  const { operations, events, fatal } = setUp();
  const kept = async (id: string, work: Promise<LayoutChanged>) => {
    const change = new ToyChange(id);
    operations.track('pmem0p1', change);
    operations.waits(change);
    const cancelled: DaxdError[] = [];
    t.match(
      operations.keep(id, work, (reason) => cancelled.push(reason)),
      { state: 'waiting' },
    );
    change.state = 'ended';
    operations.ended(change);
    t.match(await operations.get(id, 0, never), { done: false }, 'the barrier is down, no more');
    return { change, cancelled };
  };
  const results = new EventEmitter();
  const result = { size: 5, waited_ms: 1, freed_bytes: 0, quarantined_bytes: 0 };
  const well = once(results, 'well').then(() => result);
  const { cancelled } = await kept('01A', well);
  const poll = operations.get('01A', 60_000, never);
  const stopped = operations.cancel('01A', never);
  t.match(cancelled, [{ code: 'cancelled' }], 'its work may wait again');
  let isOver = false;
  const over = operations.whenNoneKept().then(() => (isOver = true));
  await settle();
  t.equal(isOver, false);
  results.emit('well');
  t.match(await poll, { done: true, state: 'ended', result });
  t.match(await stopped, { done: true, result }, 'its work was past its wait');
  await over;
  t.match(events.at(-1), { name: 'operation.ended', fields: { outcome: 'done', result } });

  const refused = new DaxdError('deadline', 'too late');
  await kept('01B', Promise.reject(refused));
  await settle();
  t.match(await operations.get('01B', 0, never), {
    done: true,
    error: { code: 'deadline', status: 504, detail: 'too late', instance: '/v1/operations/01B' },
  });
  t.strictSame(fatal, []);
  const defect = new TypeError('a defect');
  await kept('01C', Promise.reject(defect));
  await settle();
  t.match(await operations.get('01C', 0, never), { error: { code: 'EIO' } });
  t.strictSame(fatal, [defect], 'what nobody foresaw ends the daemon');
});
