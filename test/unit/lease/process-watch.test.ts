import t from 'tap';

import { PROCESSES_PER_TURN, PROCESS_POLL_MS } from '../../../src/lease/limits.js';
import { ProcessWatch } from '../../../src/lease/process-watch.js';
import { HandClock, ToyProcesses } from './set-up.js';

function setUp() {
  const clock = new HandClock();
  const processes = new ToyProcesses();
  const gone: string[] = [];
  const watch = new ProcessWatch<string>(processes, clock, (held) => gone.push(held));
  return { clock, processes, gone, watch };
}

t.test('watch: tells each thing that a process held once it is gone, and only then', async (t) => {
  const { clock, processes, gone, watch } = setUp();
  const one = { pid: 1, startTicks: 10 };
  const two = { pid: 2, startTicks: 20 };
  processes.set(one, 'alive');
  processes.set(two, 'alive');
  watch.add(one, 'a');
  watch.add(one, 'b');
  watch.add(two, 'c');
  clock.advance(PROCESS_POLL_MS);
  t.strictSame(gone, []);
  processes.set(one, 'gone');
  clock.advance(PROCESS_POLL_MS);
  t.strictSame(gone, ['a', 'b']);
  t.equal(watch.size, 1);
});

t.test('watch: what is unseen is never taken for gone', async (t) => {
  const { clock, processes, gone, watch } = setUp();
  const one = { pid: 1, startTicks: 10 };
  processes.set(one, 'unseen');
  watch.add(one, 'a');
  clock.advance(100 * PROCESS_POLL_MS);
  t.strictSame(gone, []);
  t.ok(processes.looks >= 99, `${processes.looks} looks`);
});

t.test('watch: looks only while somebody is watched', async (t) => {
  const { clock, processes, watch } = setUp();
  const one = { pid: 1, startTicks: 10 };
  processes.set(one, 'alive');
  t.equal(clock.timers, 0);
  watch.add(one, 'a');
  watch.add(one, 'b');
  t.equal(clock.timers, 1);
  watch.delete(one, 'a');
  t.equal(clock.timers, 1);
  watch.delete(one, 'b');
  watch.delete(one, 'b');
  t.equal(clock.timers, 0);
  clock.advance(10 * PROCESS_POLL_MS);
  t.equal(processes.looks, 0);
});

t.test('watch: many processes take several turns, none of them long', async (t) => {
  const { clock, processes, gone, watch } = setUp();
  const count = 3 * PROCESSES_PER_TURN + 1;
  for (let pid = 1; pid <= count; pid++) {
    processes.set({ pid, startTicks: 1 }, 'gone');
    watch.add({ pid, startTicks: 1 }, String(pid));
  }
  clock.advance(PROCESS_POLL_MS);
  t.equal(processes.looks, PROCESSES_PER_TURN);
  clock.advance(100);
  t.equal(gone.length, count);
  t.equal(clock.timers, 0);
});
