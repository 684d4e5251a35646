import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import t from 'tap';
import type { Test } from 'tap';

import { ProcFs } from '../../../src/lease/proc-fs.js';

/** A line of proc(5) with the start time as field 22. */
function statLine(pid: number, name: string, state: string, startTicks: number): string {
  const between = Array.from({ length: 18 }, (_, i) => i + 1);
  return [pid, `(${name})`, state, ...between, startTicks, 1234, 56].join(' ') + '\n';
}

/** What /proc says of the process that looks. */
function see(root: string, { namespace = 1, boottime = '0 0', pids = '7' } = {}): void {
  rmSync(`${root}/self`, { recursive: true, force: true });
  mkdirSync(`${root}/self/ns`, { recursive: true });
  symlinkSync(`pid:[${namespace}]`, `${root}/self/ns/pid`);
  writeFileSync(`${root}/self/status`, `Name:\tnode\nNSpid:\t${pids.replace(' ', '\t')}\n`);
  writeFileSync(`${root}/self/timens_offsets`, `monotonic 0 0\nboottime ${boottime}\n`);
}

interface ToyThread {
  readonly tid: number;
  readonly state: string;
}

/** A /proc of one process, 42, that started at tick 777, and of the one that looks, 7. */
function setUp(t: Test, options: { name?: string; state?: string; threads?: ToyThread[] } = {}) {
  const root = t.testdir({});
  const { name = 'toy', state = 'S', threads = [] } = options;
  const put = (pid: number, tgid: number, line: string): void => {
    mkdirSync(`${root}/${pid}`, { recursive: true });
    writeFileSync(`${root}/${pid}/stat`, line);
    writeFileSync(`${root}/${pid}/status`, `Name:\t${name}\nTgid:\t${tgid}\nPid:\t${pid}\n`);
  };
  put(42, 42, statLine(42, name, state, 777));
  for (const thread of [{ tid: 42, state }, ...threads]) {
    const line = statLine(thread.tid, name, thread.state, 777);
    if (thread.tid !== 42) put(thread.tid, 42, line);
    mkdirSync(`${root}/42/task/${thread.tid}`, { recursive: true });
    writeFileSync(`${root}/42/task/${thread.tid}/stat`, line);
  }
  see(root);
  const proc = new ProcFs(root, () => false);
  return { root, proc, at: proc.ref(42, 777) };
}

t.test('presence: the same pid and start time are alive, another start time is gone', async (t) => {
  const { proc, at } = setUp(t);
  t.equal(proc.presence(at), 'alive');
  t.equal(proc.presence({ ...at, startTicks: 778 }), 'gone', 'the pid was used again');
});

t.test('presence: a name with spaces and parentheses hides no field', async (t) => {
  for (const name of ['a b', 'a) R 1 2 3', '((', ') Z 9 (']) {
    const { proc, at } = setUp(t, { name });
    t.equal(proc.presence(at), 'alive', name);
  }
});

t.test('presence: a pid that is not there is gone only if the kernel says so too', async (t) => {
  const { root } = setUp(t);
  const hidden = new ProcFs(root).ref(43, 1);
  t.equal(new ProcFs(root, () => false).presence(hidden), 'gone');
  t.equal(new ProcFs(root, () => true).presence(hidden), 'unseen', 'hidden from /proc');
});

t.test('presence: a zombie with a live thread is alive, without one it is gone', async (t) => {
  for (const state of ['Z', 'X']) {
    const some = setUp(t, { state, threads: [{ tid: 50, state: 'R' }] });
    t.equal(some.proc.presence(some.at), 'alive', `${state} with a thread`);
    const dead = setUp(t, { state, threads: [{ tid: 50, state: 'Z' }] });
    t.equal(dead.proc.presence(dead.at), 'gone', `${state} with a dead thread`);
    const none = setUp(t, { state });
    t.equal(none.proc.presence(none.at), 'gone', `${state} alone`);
  }
});

t.test('presence: what cannot be read proves nothing', async (t) => {
  const { root, proc, at } = setUp(t, { state: 'Z' });
  rmSync(`${root}/42/task`, { recursive: true });
  t.equal(proc.presence(at), 'unseen', 'no task folder');
  writeFileSync(`${root}/42/stat`, 'not a stat line');
  t.equal(proc.presence(at), 'unseen', 'no such line');
  rmSync(`${root}/42/stat`);
  mkdirSync(`${root}/42/stat`);
  t.equal(proc.presence(at), 'unseen', 'a folder where a file should be');
});

t.test('presence: a thread id names no process', async (t) => {
  const { proc } = setUp(t, { threads: [{ tid: 50, state: 'S' }] });
  t.equal(proc.presence(proc.ref(50, 777)), 'unseen');
});

t.test(
  'presence: what was seen from another container is unseen, and proves nothing',
  async (t) => {
    const { root, at } = setUp(t);
    const later = (how: Parameters<typeof see>[1]): ProcFs => {
      see(root, how);
      return new ProcFs(root, () => false);
    };
    t.equal(later({ namespace: 2 }).presence(at), 'unseen', 'other pids');
    t.equal(later({ boottime: '1000         0' }).presence(at), 'unseen', 'other start times');
    t.equal(later({}).presence(at), 'alive', 'seen as before');
    rmSync(`${root}/self/timens_offsets`);
    t.equal(new ProcFs(root).presence(at), 'alive', 'by a kernel without time namespaces');

    const around = later({ pids: '900 7' });
    t.equal(around.presence(at), 'unseen');
    t.equal(around.presence(around.ref(42, 777)), 'unseen', 'a /proc of the namespace around');
    rmSync(`${root}/self`, { recursive: true });
    const another = new ProcFs(root);
    t.equal(another.presence(another.ref(42, 777)), 'unseen', 'a /proc that does not show daxd');
  },
);
