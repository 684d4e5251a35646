import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { Test } from 'tap';

import { ProcFs } from '../../../src/lease/proc-fs.js';
import { requires } from '../../support/requires.js';

/** What a holder does: it reads field 22 of its own stat line. */
function readStartTicks(pid: number): number {
  const line = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[22 - 3]);
}

/** The state letter of a thread. */
function stateOf(pid: number, tid: number): string {
  const line = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8');
  return line.slice(line.lastIndexOf(')') + 2, line.lastIndexOf(')') + 3);
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('the process did not start');
  return child.pid;
}

/** A Python program that says one line when it is ready and ends with its stdin. */
async function startPython(
  t: Test,
  source: string,
): Promise<{ child: ChildProcess; line: string }> {
  const child = spawn('python3', ['-c', source], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const [data] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, line: data.toString().trim() };
}

t.test(
  'presence: this process is alive under its start time, and gone under another',
  async (t) => {
    const proc = new ProcFs();
    const me = proc.ref(process.pid, readStartTicks(process.pid));
    t.equal(proc.presence(me), 'alive');
    t.equal(proc.presence({ ...me, startTicks: me.startTicks - 1 }), 'gone');
  },
);

t.test('presence: a killed process is gone, first as a zombie, then without a trace', async (t) => {
  const proc = new ProcFs();
  const child = spawn('sleep', ['100']);
  t.teardown(() => child.kill('SIGKILL'));
  const held = proc.ref(pidOf(child), readStartTicks(pidOf(child)));
  t.equal(proc.presence(held), 'alive');
  child.kill('SIGSTOP');
  t.equal(proc.presence(held), 'alive', 'stopped is not gone');
  child.kill('SIGKILL');
  await once(child, 'exit');
  t.equal(proc.presence(held), 'gone');
});

t.test('presence: a zombie that its parent does not reap is gone', async (t) => {
  if (!requires(t, { commands: ['python3'] })) return;
  const source = `
import os, sys
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print(pid, flush=True)
sys.stdin.read()
`;
  const { line } = await startPython(t, source);
  const pid = Number(line);
  t.equal(stateOf(pid, pid), 'Z');
  const proc = new ProcFs();
  t.equal(proc.presence(proc.ref(pid, readStartTicks(pid))), 'gone');
});

t.test('presence: a zombie whose threads still run is not gone', async (t) => {
  if (!requires(t, { commands: ['python3'] })) return;
  // The main thread leaves by the system call that ends one thread alone (exit: 60, or 93 on arm64).
  const source = `
import ctypes, os, platform, sys, threading
start = threading.Event()
def wait():
    start.wait()
    while open('/proc/%d/stat' % os.getpid()).read().rsplit(')', 1)[1].split()[0] != 'Z':
        pass
    print(threading.get_native_id(), flush=True)
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=wait).start()
start.set()
ctypes.CDLL(None).syscall(93 if platform.machine() == 'aarch64' else 60, 0)
`;
  const { child, line } = await startPython(t, source);
  const pid = pidOf(child);
  const proc = new ProcFs();
  const held = proc.ref(pid, readStartTicks(pid));
  t.equal(stateOf(pid, pid), 'Z');
  t.equal(proc.presence(held), 'alive');
  const thread = Number(line);
  t.equal(proc.presence(proc.ref(thread, readStartTicks(thread))), 'unseen', 'a thread');
  child.stdin?.end();
  await once(child, 'exit');
  t.equal(proc.presence(held), 'gone');
});
