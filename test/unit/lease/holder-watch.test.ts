import t from 'tap';

import { HOLDERS_PER_TURN, HOLDER_POLL_MS } from '../../../src/lease/limits.js';
import { HolderWatch } from '../../../src/lease/holder-watch.js';
import { HandClock, ToyHolders } from './set-up.js';

function setUp() {
  const clock = new HandClock();
  const holders = new ToyHolders();
  const gone: string[] = [];
  const watch = new HolderWatch<string>(holders, clock, (held) => gone.push(held));
  return { clock, holders, gone, watch };
}

t.test('watch: tells each thing that a process held once it is gone, and only then', async (t) => {
  const { clock, holders, gone, watch } = setUp();
  const one = { pid: 1, startTicks: 10, view: '' };
  const two = { pid: 2, startTicks: 20, view: '' };
  holders.set(one, 'alive');
  holders.set(two, 'alive');
  watch.add(one, 'a');
  watch.add(one, 'b');
  watch.add(two, 'c');
  clock.advance(HOLDER_POLL_MS);
  t.strictSame(gone, []);
  holders.set(one, 'gone');
  clock.advance(HOLDER_POLL_MS);
  t.strictSame(gone, ['a', 'b']);
  t.equal(watch.size, 1);
});

t.test('watch: what is unseen is never taken for gone', async (t) => {
  const { clock, holders, gone, watch } = setUp();
  const one = { pid: 1, startTicks: 10, view: '' };
  holders.set(one, 'unseen');
  watch.add(one, 'a');
  clock.advance(100 * HOLDER_POLL_MS);
  t.strictSame(gone, []);
  t.ok(holders.looks >= 99, `${holders.looks} looks`);
});

t.test('watch: cgroups and processes, each by what it is for all time', async (t) => {
  const { clock, holders, gone, watch } = setUp();
  const process = { pid: 1, startTicks: 10, view: '' };
  const older = { cgroup: '/one', inode: 5, rootInode: 1 };
  const newer = { cgroup: '/one', inode: 6, rootInode: 1 };
  for (const holder of [process, older, newer]) holders.set(holder, 'alive');
  watch.add(process, 'process');
  watch.add(older, 'older');
  watch.add(newer, 'newer');
  t.equal(watch.size, 3);
  holders.set(older, 'gone');
  clock.advance(HOLDER_POLL_MS);
  t.strictSame(gone, ['older']);
  watch.delete(newer, 'newer');
  watch.delete(process, 'process');
  t.equal(clock.timers, 0);
});

t.test('watch: looks only while somebody is watched', async (t) => {
  const { clock, holders, watch } = setUp();
  const one = { pid: 1, startTicks: 10, view: '' };
  holders.set(one, 'alive');
  t.equal(clock.timers, 0);
  watch.add(one, 'a');
  watch.add(one, 'b');
  t.equal(clock.timers, 1);
  watch.delete(one, 'a');
  t.equal(clock.timers, 1);
  watch.delete(one, 'b');
  watch.delete(one, 'b');
  t.equal(clock.timers, 0);
  clock.advance(10 * HOLDER_POLL_MS);
  t.equal(holders.looks, 0);
});

t.test('watch: many processes take several turns, none of them long', async (t) => {
  const { clock, holders, gone, watch } = setUp();
  const count = 3 * HOLDERS_PER_TURN + 1;
  for (let pid = 1; pid <= count; pid++) {
    holders.set({ pid, startTicks: 1, view: '' }, 'gone');
    watch.add({ pid, startTicks: 1, view: '' }, String(pid));
  }
  clock.advance(HOLDER_POLL_MS);
  t.equal(holders.looks, HOLDERS_PER_TURN);
  clock.advance(100);
  t.equal(gone.length, count);
  t.equal(clock.timers, 0);
});
