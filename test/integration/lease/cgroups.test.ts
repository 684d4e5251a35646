import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { CgroupFs } from '../../../src/lease/cgroup-fs.js';
import { TestCgroup, kill, mountCgroup2, mountIn, run } from '../../support/cgroup2.js';
import { requires } from '../../support/requires.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';

/** Cgroups as one sees them who has the mounts at and below `point` alone. */
function cgroupsAt(t: Test, point: string): { cgroups: CgroupFs; look: () => void } {
  const mountinfo = join(temporaryDirectory(t), 'mountinfo');
  const look = (): void => {
    const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    writeFileSync(mountinfo, lines.filter((line) => line.includes(` ${point}`)).join('\n'));
  };
  look();
  return { cgroups: new CgroupFs({ mountinfo }), look };
}

t.test('presence: a cgroup is alive until its last process ends', async (t) => {
  const point = mountCgroup2(t);
  if (point === undefined) return;
  const cgroup = TestCgroup.make(t, point);
  const { cgroups } = cgroupsAt(t, point);
  t.equal(cgroups.presence(cgroups.find(cgroup.path)), 'gone', 'nobody is in it yet');
  const one = await cgroup.start();
  const two = await cgroup.start();
  const line = readFileSync(`/proc/${one.pid}/cgroup`, 'utf8');
  const path = /^0::(.*)$/m.exec(line)?.[1] ?? '';
  t.equal(path, cgroup.path);
  const holder = cgroups.find(path);
  t.equal(cgroups.presence(holder), 'alive');
  one.kill('SIGSTOP');
  two.kill('SIGSTOP');
  t.equal(cgroups.presence(holder), 'alive', 'stopped is not gone');
  await kill(one);
  t.equal(cgroups.presence(holder), 'alive', 'one is left');
  await kill(two);
  t.equal(cgroups.presence(holder), 'gone');
  t.equal(cgroups.presence(cgroups.find('/')), 'unseen', 'the root never says');

  await cgroup.start();
  t.equal(cgroups.presence(holder), 'alive', 'as long as it is there, it can be filled again');
  await cgroup.remove();
  t.equal(cgroups.presence(holder), 'gone', 'removed');
  const again = TestCgroup.make(t, point);
  await again.start();
  t.equal(cgroups.presence(holder), 'gone', 'another one has its path');
  t.equal(cgroups.presence(cgroups.find(again.path)), 'alive');
});

t.test('presence: a zombie is gone, but not one whose threads run', async (t) => {
  if (!requires(t, { commands: ['python3'] })) return;
  const point = mountCgroup2(t);
  if (point === undefined) return;
  const cgroup = TestCgroup.make(t, point);
  const { cgroups } = cgroupsAt(t, point);
  // The main thread ends alone (exit: system call 60, or 93 on arm64), the other with its stdin.
  const source = `
import ctypes, os, platform, sys, threading
def wait():
    while open("/proc/%d/stat" % os.getpid()).read().rsplit(")", 1)[1].split()[0] != "Z":
        pass
    print("here", flush=True)
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=wait).start()
ctypes.CDLL(None).syscall(93 if platform.machine() == "aarch64" else 60, 0)
`;
  const child = await cgroup.start(`exec python3 -c '${source}'`);
  const holder = cgroups.find(cgroup.path);
  t.equal(cgroups.presence(holder), 'alive');
  await kill(child);
  t.equal(cgroups.presence(holder), 'gone');

  // A parent outside that does not reap: its child enters the cgroup and ends.
  const parent = await TestCgroup.make(t, point, `${cgroup.path}-parent`).start(`exec python3 -c '
import os, sys
def enter():
    open("${cgroup.directory}/cgroup.procs", "w").write(str(os.getpid()))
    os._exit(0)
pid = os.fork()
if pid == 0:
    enter()
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print("here", flush=True)
sys.stdin.read()
'`);
  t.equal(cgroups.presence(holder), 'gone', 'a zombie is nobody');
  await kill(parent);
});

t.test('presence: a mount of a part, one on top, and none', async (t) => {
  const point = mountCgroup2(t);
  if (point === undefined) return;
  const outer = TestCgroup.make(t, point);
  const inner = TestCgroup.make(t, point, `${outer.path}/inner`);
  const process = await inner.start();
  const { point: part, unmount } = mountIn(t, ['--bind', outer.directory]);
  const { cgroups, look } = cgroupsAt(t, part);
  const holder = cgroups.find(inner.path);
  t.equal(cgroups.presence(holder), 'alive');
  t.throws(() => cgroups.find('/'), { code: 'EOPNOTSUPP' }, 'no part of it');
  const whole = cgroupsAt(t, point);
  t.equal(whole.cgroups.presence(holder), 'unseen', 'seen from elsewhere: no word of it');
  t.equal(whole.cgroups.find(inner.path).inode, holder.inode);

  const top = join(part, 'inner');
  run('mount', '-t', 'tmpfs', 'none', top);
  t.equal(cgroups.presence(holder), 'unseen');
  run('umount', top);
  t.equal(cgroups.presence(holder), 'alive');
  unmount();
  t.equal(cgroups.presence(holder), 'unseen', 'unmounted, and not known yet');
  look();
  t.equal(cgroups.presence(holder), 'unseen', 'unmounted');
  t.throws(() => cgroups.find(inner.path), { code: 'EOPNOTSUPP' });
  await kill(process);
});

t.test('find: threads of a process are no holder', async (t) => {
  const point = mountCgroup2(t);
  if (point === undefined) return;
  const outer = TestCgroup.make(t, point);
  const inner = TestCgroup.make(t, point, `${outer.path}/inner`);
  inner.makeThreaded();
  const { cgroups } = cgroupsAt(t, point);
  t.throws(() => cgroups.find(inner.path), { code: 'EINVAL' });
  await outer.start();
  t.equal(cgroups.presence(cgroups.find(outer.path)), 'alive', 'their domain is');
});
