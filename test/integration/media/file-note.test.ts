import { spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { FileNote } from '../../../src/media/file-note.js';
import { requires } from '../../support/requires.js';
import { mountSmallExt4 } from './mounts.js';

t.test('a note: where the disk is full there is none, and the one before stays', async (t) => {
  if (!requires(t, { commands: ['mkfs.ext4', 'mount'], root: true })) return;
  const mountpoint = mountSmallExt4(t, t.testdir());
  const path = join(mountpoint, 'file');
  const fd = openSync(path, 'w');
  t.teardown(() => {
    closeSync(fd);
  });
  const note = new FileNote({ fd, path, name: 'user.daxd.leases' });
  t.equal(note.write('short'), true);
  const rest = join(mountpoint, 'rest');
  t.throws(() => {
    writeFileSync(rest, Buffer.alloc(32 * 2 ** 20));
  }, /ENOSPC/);
  spawnSync('sync', ['-f', mountpoint]);
  const long = 'x'.repeat(2000);
  t.equal(note.write(long), false);
  t.equal(note.read(), 'short');
  rmSync(rest);
  spawnSync('sync', ['-f', mountpoint]);
  t.equal(note.write(long), true);
  t.equal(note.read(), long);
  note.remove();
  t.equal(note.read(), undefined);
});
