import { mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { CgroupFs } from '../../../src/lease/cgroup-fs.js';
import { refusal } from '../../support/refusal.js';

/** A line of mountinfo, spaces in it written as the kernel does. */
function line(root: string, point: string, type = 'cgroup2'): string {
  const fields = [root, point].map((field) => field.replaceAll(' ', '\\040')).join(' ');
  return `40 30 0:37 ${fields} rw,nosuid shared:4 master:2 - ${type} cgroup2 rw\n`;
}

/** A hierarchy in a folder: cgroup /one with a process in it, and /one/two with none. */
function setUp(t: Test) {
  const folder = t.testdir({ 'the hierarchy': {} });
  const point = join(folder, 'the hierarchy');
  const mountinfo = join(folder, 'mountinfo');
  const elsewhere = new Set<string>();
  const make = (path: string, populated: string, type = 'domain'): void => {
    mkdirSync(join(point, path), { recursive: true });
    writeFileSync(join(point, path, 'cgroup.events'), `populated ${populated}\nfrozen 0\n`);
    writeFileSync(join(point, path, 'cgroup.type'), `${type}\n`);
  };
  const mounts = (...lines: string[]): void => {
    writeFileSync(mountinfo, [line('/', '/', 'ext4'), ...lines].join(''));
  };
  make('/one', '1');
  make('/one/two', '0');
  mounts(line('/', point));
  const cgroups = new CgroupFs({ mountinfo, isCgroup2: (path) => !elsewhere.has(path) });
  return { point, mountinfo, elsewhere, make, mounts, cgroups };
}

t.test('find: a path names the directory of now, and presence tells of that alone', async (t) => {
  const { point, make, cgroups } = setUp(t);
  const one = cgroups.find('/one');
  t.strictSame(one, {
    cgroup: '/one',
    inode: statSync(join(point, 'one')).ino,
    rootInode: statSync(point).ino,
  });
  t.equal(cgroups.presence(one), 'alive');
  t.equal(cgroups.presence(cgroups.find('/one/two')), 'gone', 'nobody is in it');
  make('/one', '0');
  t.equal(cgroups.presence(one), 'gone', 'empty');
});

t.test('presence: a cgroup that was removed, or made again, is gone', async (t) => {
  const { point, make, cgroups } = setUp(t);
  const one = cgroups.find('/one');
  renameSync(join(point, 'one'), join(point, 'old'));
  t.equal(cgroups.presence(one), 'gone');
  make('/one', '1');
  t.equal(cgroups.presence(one), 'gone', 'another one has its path');
  t.equal(cgroups.presence(cgroups.find('/one')), 'alive');
});

t.test('presence: a daemon that starts later says the same', async (t) => {
  const { point, mountinfo, elsewhere, cgroups } = setUp(t);
  const one = cgroups.find('/one');
  const next = () => new CgroupFs({ mountinfo, isCgroup2: (path) => !elsewhere.has(path) });
  t.equal(next().presence(one), 'alive');
  renameSync(join(point, 'one'), join(point, 'old'));
  t.equal(next().presence(one), 'gone');
});

t.test('presence: what is not seen proves nothing', async (t) => {
  const { point, mountinfo, elsewhere, mounts, cgroups } = setUp(t);
  const one = cgroups.find('/one');
  writeFileSync(join(point, 'one/cgroup.events'), 'frozen 0\n');
  t.equal(cgroups.presence(one), 'unseen', 'no such line');
  rmSync(join(point, 'one/cgroup.events'));
  t.equal(cgroups.presence(one), 'unseen', 'no such file');
  mkdirSync(join(point, 'one/cgroup.events'));
  t.equal(cgroups.presence(one), 'unseen', 'a folder where a file should be');

  elsewhere.add(join(point, 'one'));
  t.equal(cgroups.presence(one), 'unseen', 'something else is there');
  rmSync(join(point, 'one'), { recursive: true });
  t.equal(cgroups.presence(one), 'gone');
  elsewhere.add(point);
  t.equal(cgroups.presence(one), 'unseen', 'the mount point is no cgroup any more');
  elsewhere.clear();
  mounts();
  t.equal(cgroups.presence(one), 'unseen', 'it is mounted no more');
  rmSync(mountinfo);
  t.equal(cgroups.presence(one), 'unseen', 'nobody knows');
});

t.test('presence: a path of another namespace, or under a cover, proves nothing', async (t) => {
  const { point, make, mounts, cgroups } = setUp(t);
  make('/box', '1');
  make('/box/one', '1');
  const one = cgroups.find('/one');
  mounts(line('/', join(point, 'box')));
  rmSync(join(point, 'one'), { recursive: true });
  t.equal(cgroups.presence(one), 'unseen', 'it counts from another cgroup');
  mounts(line('/', point), line('/', point, 'tmpfs'));
  t.equal(cgroups.presence(one), 'unseen', 'mounted over');
  mounts(line('/', point), line('/', join(point, 'one'), 'tmpfs'));
  t.equal(cgroups.presence(one), 'unseen', 'mounted over on the way');
  mounts(line('/', point), line('/', join(point, 'on'), 'tmpfs'));
  t.equal(cgroups.presence(one), 'gone', 'mounted beside the way');
});

t.test('presence: it is not taken for gone when the mounts change meanwhile', async (t) => {
  const { point, mountinfo, mounts } = setUp(t);
  let looks = 0;
  const cgroups = new CgroupFs({
    mountinfo,
    isCgroup2: () => {
      if (++looks > 2) mounts();
      return true;
    },
  });
  const one = cgroups.find('/one');
  renameSync(join(point, 'one'), join(point, 'old'));
  t.equal(cgroups.presence(one), 'unseen');
  t.ok(looks > 2);
});

t.test('find: a mount may be of a part of the hierarchy', async (t) => {
  const { point, mounts, cgroups } = setUp(t);
  mounts(line('/../other', '/none'), line('/a/b', point));
  t.equal(cgroups.find('/a/b/one').inode, statSync(join(point, 'one')).ino);
  t.equal(cgroups.find('/a/b').inode, statSync(point).ino);
  for (const path of ['/one', '/a', '/a/bc/one', '/']) {
    t.throws(() => cgroups.find(path), refusal('EOPNOTSUPP'), path);
  }
  mounts(line('/', point), line('/x', `${point}/one`));
  t.throws(() => cgroups.find('/one/two'), refusal('EOPNOTSUPP'), 'covered');
  mounts(line('/x', point), line('/', point));
  t.equal(cgroups.find('/one/two').inode, statSync(join(point, 'one/two')).ino, 'by the newest');
});

t.test('find: what is no cgroup is refused', async (t) => {
  const { point, mountinfo, elsewhere, make, mounts, cgroups } = setUp(t);
  t.throws(() => cgroups.find('/none'), refusal('ESRCH'));
  t.throws(() => cgroups.find('/one/cgroup.events/x'), refusal('ESRCH'));
  make('/threads', '1', 'threaded');
  t.throws(() => cgroups.find('/threads'), refusal('EINVAL'));
  make('/threads', '1', 'domain threaded');
  t.equal(cgroups.presence(cgroups.find('/threads')), 'alive');
  elsewhere.add(join(point, 'one'));
  t.throws(() => cgroups.find('/one'), refusal('ESRCH'), 'something else is mounted there');
  elsewhere.add(point);
  t.throws(() => cgroups.find('/one'), refusal('EOPNOTSUPP'), 'and now on all of it');
  mounts();
  t.throws(() => cgroups.find('/one'), refusal('EOPNOTSUPP'));
  rmSync(mountinfo);
  t.throws(() => cgroups.find('/one'), refusal('EOPNOTSUPP'));
});
