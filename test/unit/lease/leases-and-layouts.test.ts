import { setMaxListeners } from 'node:events';

import t from 'tap';

import type { LayoutChangeRequest } from '../../../src/dax/layout-change.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import type { PfnRun } from '../../../src/mm/gup.js';
import { settle } from '../../support/settle.js';
import { FS_START, ask, setUpLeases } from './set-up.js';

const P = PAGE_SIZE;

/** A file of four pages, and changes of it that tell whether they are through. */
async function setUp() {
  const set = await setUpLeases();
  const file = set.fs.create('file', ['wwww']);
  function* pages(from: number, to: number): Generator<PfnRun> {
    for (const [page, { block }] of file.blocks) {
      if (page * P < to && (page + 1) * P > from)
        yield { firstPfn: FS_START / P + block, count: 1 };
    }
  }
  const change = (request: Partial<LayoutChangeRequest> = {}) => {
    const { from = 0, to = Infinity } = request;
    const scan = (): Iterable<PfnRun> => pages(from, to);
    const waits = set.layouts.breakLayouts({
      op: 'truncate',
      inode: file.inode,
      from,
      to,
      pages: scan,
      ...request,
    });
    const state = { through: false };
    const done = waits.then((layout) => {
      state.through = true;
      layout.assertIdle();
      return layout;
    });
    return { state, done };
  };
  return { ...set, file, change };
}

t.test('a truncate waits for the lease, and keeps later overlapping leases out', async (t) => {
  const { leases, layouts, change, pinnedPages } = await setUp();
  const lease = await leases.acquire(ask());
  const { state, done } = change();
  await settle();
  t.equal(state.through, false);
  const [pending] = [...layouts.pending];
  const message = new RegExp(`^truncate ${pending?.id ?? 'none'} `);
  const conflict = { name: 'DaxdError', code: 'recall-conflict', message };
  await t.rejects(leases.acquire(ask()), conflict);
  await t.rejects(leases.acquire(ask({ offset: 3 * P, access: 'write' })), conflict);
  t.equal(leases.counters.requests.recall_conflict, 2);
  t.strictSame(leases.overlapping('pmem0p1', lease.terms.inode, 0, Infinity), [lease.id]);
  t.equal(leases.renew(lease.id).state, 'active', 'the holder goes on');
  t.equal(pinnedPages(), 1);

  await leases.release(lease.id);
  const layout = await done;
  await t.rejects(leases.acquire(ask()), conflict, 'until the change is done');
  layout.lift();
  t.equal((await leases.acquire(ask())).state, 'active');
});

t.test('disjoint pages pass; bytes of one page do not', async (t) => {
  const { leases, change } = await setUp();
  const lease = await leases.acquire(ask());
  const { done } = change({ op: 'punch-hole', from: 100, to: 200 });
  await settle();
  const other = ask({ offset: 300, length: 1 });
  await t.rejects(leases.acquire(other), { name: 'DaxdError', code: 'recall-conflict' });
  t.equal((await leases.acquire(ask({ offset: P }))).state, 'active');
  await leases.release(lease.id);
  (await done).lift();
});

t.test('a partial release lets a change of those pages through', async (t) => {
  const { leases, change } = await setUp();
  const lease = await leases.acquire(ask({ length: 4 * P }));
  const { state, done } = change({ op: 'punch-hole', from: P, to: 2 * P });
  await leases.release(lease.id, [{ offset: 0, length: P }]);
  await leases.release(lease.id, [{ offset: P + 1, length: P - 1 }]);
  await settle();
  t.equal(state.through, false, 'one byte is left on the page');
  await leases.release(lease.id, [{ offset: P, length: 1 }]);
  (await done).lift();
  t.equal(leases.get(lease.id).pages, 2);
});

t.test('a cancelled change leaves nothing: the lease is as it was, new ones pass', async (t) => {
  const { leases, layouts, waiters, change, pinnedPages } = await setUp();
  const lease = await leases.acquire(ask());
  const abort = new AbortController();
  const { done } = change({ signal: abort.signal });
  await settle();
  abort.abort();
  await t.rejects(done, { name: 'DaxdError', code: 'cancelled' });
  t.equal(waiters.size, 0);
  t.strictSame([...layouts.pending], []);
  t.equal(lease.state, 'active');
  t.equal((await leases.acquire(ask())).state, 'active');
  t.equal(pinnedPages(), 1);
});

t.test('a lapsed lease is waited for; its process being gone ends the wait', async (t) => {
  const { leases, clock, holders, change } = await setUp();
  const process = { pid: 7, startTicks: 70, view: '' };
  holders.set(process, 'alive');
  await leases.acquire(ask({ pid: 7, pidStart: 70, ttlMs: 1000 }));
  const { state, done } = change();
  clock.advance(100_000);
  await settle();
  t.equal(state.through, false, 'expiry frees no page');
  holders.set(process, 'gone');
  clock.advance(1000);
  (await done).lift();
});

t.test('a barrier that goes up while a write lease is prepared refuses it', async (t) => {
  const { leases, fs, change, pinnedPages } = await setUp();
  fs.punch('file', 0);
  let started: ReturnType<typeof change> | undefined;
  fs.afterPrepare = () => {
    started ??= change();
  };
  const request = ask({ access: 'write' });
  await t.rejects(leases.acquire(request), { name: 'DaxdError', code: 'recall-conflict' });
  t.equal(pinnedPages(), 0);
  (await started?.done)?.lift();
});

t.test('many leases of one page: the last release is the one that counts', async (t) => {
  const { leases, change } = await setUp();
  const held = [];
  for (let i = 0; i < 50; i++) held.push(await leases.acquire(ask()));
  const { state, done } = change();
  for (const lease of held) {
    await settle();
    t.equal(state.through, false);
    await leases.release(lease.id);
  }
  (await done).lift();
});

t.test('a view shows some of very many recalls, and of each some of its ranges', async (t) => {
  const { leases, change } = await setUp();
  const lease = await leases.acquire(ask({ length: 4 * P }));
  // Every other byte of the last 200 is given back: what is left are 100 ranges of one byte.
  const bytes = Array.from({ length: 100 }, (_, i) => ({ offset: 4 * P - 2 * i - 1, length: 1 }));
  await leases.release(lease.id, bytes);
  for (let i = 0; i < 40; i++) change({ from: 4 * P - 200 + i });
  await settle();
  const { recalls } = leases.view(lease);
  t.equal(recalls.length, 32);
  t.strictSame(new Set(recalls.map(({ ranges }) => ranges.length)), new Set([64]));
  t.match(recalls[0]?.ranges[0], { offset: 3 * P }, 'a page is waited for whole');
});

t.test('renew: starts the time of what it shows, where that takes the lease', async (t) => {
  const { leases, layouts, change, clock } = await setUp();
  const lease = await leases.acquire(ask({ ttlMs: 9_000 }));
  const gone = new AbortController();
  setMaxListeners(0, gone.signal);
  const asked = { signal: gone.signal, deadlineMs: 5_000 };
  const ends = Array.from({ length: 34 }, (_, i) =>
    change(i === 0 ? asked : { ...asked, defer: true, revoke: async () => {} }).done.catch(
      () => {},
    ),
  );
  await settle();
  const pending = [...layouts.pending];
  clock.advance(1_000);
  t.equal(leases.view(leases.renew(lease.id)).recalls.length, 32);
  const rests = pending.map((one) => leases.recallClock.restMs(lease, one));
  const [unseen, seen] = [7_000, 5_000];
  t.equal(rests[0], unseen, 'takes nothing');
  t.strictSame(
    rests.slice(1, 32),
    Array.from({ length: 31 }, () => seen),
  );
  t.strictSame(rests.slice(32), [unseen, unseen], 'no reply shows them');
  gone.abort();
  await Promise.all(ends);
});
