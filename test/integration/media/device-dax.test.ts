/**
 * Device-dax without a device: a node like /dev/zero maps shared memory, and a sysfs of the test's own
 * says that device-dax drives it. The real node is for the guest.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { GIB, MIB } from '../../../src/lib/units.js';
import { DeviceDaxBacking } from '../../../src/media/device-dax-backing.js';
import type { OpenDeviceDaxOptions } from '../../../src/media/device-dax-backing.js';
import { LIBPMEM, loadLibpmem } from '../../../src/media/libpmem.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { requires } from '../../support/requires.js';
import { holdLock } from './children.js';

const SIZE = 8 * MIB;
/** A node of its own where it can be made and opened: others may have the machine's locked. */
const NODE = nodeIn(t.testdir({}));

function nodeIn(directory: string): string {
  const node = join(directory, 'zero');
  const { status } = spawnSync('mknod', ['-m', '666', node, 'c', '1', '5']);
  try {
    if (status === 0) closeSync(openSync(node, 'r+'));
    return status === 0 ? node : '/dev/zero';
  } catch {
    return '/dev/zero';
  }
}

function setUp(t: Test, size = SIZE, subsystem = 'bus/dax'): OpenDeviceDaxOptions {
  const attributes = { size: `${size}\n`, align: '2097152\n' };
  const sysfsRoot = t.testdir({ dev: { char: { '1:5': attributes } } });
  symlinkSync(`../../../${subsystem}`, join(sysfsRoot, 'dev/char/1:5/subsystem'));
  return { sysfsRoot, log: silentLogger };
}

/** Whether libpmem is here; else skips, or fails in CI. */
function hasLibpmem(t: Test): boolean {
  try {
    loadLibpmem();
    return true;
  } catch {
    // `requires` knows programs only; this is how it reports a library.
    return requires(t, { commands: [LIBPMEM] });
  }
}

t.test('open: size and alignment from sysfs, persistence from libpmem', async (t) => {
  if (!hasLibpmem(t)) return;
  const backing = await DeviceDaxBacking.open(NODE, setUp(t));
  t.match(backing, {
    kind: 'device-dax',
    sizeBytes: SIZE,
    alignBytes: 2 * MIB,
    persistence: 'libpmem',
    sparse: false,
    created: false,
  });
  backing.mapping.write(SIZE - 5, Buffer.from('end'));
  await backing.persist(SIZE - 5, 3);
  await backing.persist(0, SIZE);
  t.equal(backing.persistLatency.count, 2);
  t.equal(backing.mapping.view(SIZE - 5, 3).toString(), 'end');
  backing.checkSize();
  await backing.close();
});

t.test('loadLibpmem: flushes windows of mmap-io and of libc alike', async (t) => {
  if (!hasLibpmem(t)) return;
  // A file here: /dev/zero has memory for its first window only.
  const path = join(t.testdir({}), 'pmem0.img');
  const options = { sizeBytes: 2 * GIB + 2 * MIB, sparse: true, log: silentLogger };
  const backing = await openBacking(path, options);
  t.teardown(() => backing.close());
  const persistView = loadLibpmem();
  backing.mapping.fill(2 * GIB - 64, 128, 0xa5);
  for (const view of backing.mapping.views(2 * GIB - 64, 128)) await persistView(view);
  await persistView(backing.mapping.view(0, 4096));
  const target = Buffer.alloc(128);
  backing.mapping.read(2 * GIB - 64, target);
  t.ok(target.equals(Buffer.alloc(128, 0xa5)));
});

t.test('open: without libpmem it stops, names the package, and locks nothing', async (t) => {
  const options = { ...setUp(t), libpmem: 'libpmem-that-is-not-there.so.1' };
  await t.rejects(DeviceDaxBacking.open(NODE, options), {
    name: 'DaxdError',
    code: 'EOPNOTSUPP',
    message: /libpmem-that-is-not-there\.so\.1 .* libpmem1, or give --persistence none/,
  });
  const backing = await DeviceDaxBacking.open(NODE, { ...options, persistence: 'none' });
  t.equal(backing.persistence, 'none');
  await backing.persist(0, SIZE);
  t.equal(backing.persistLatency.count, 0);
  await backing.close();
});

t.test('open: read-only needs no libpmem', async (t) => {
  const options = { ...setUp(t), libpmem: 'libpmem-that-is-not-there.so.1', readOnly: true };
  const backing = await DeviceDaxBacking.open(NODE, options);
  t.match(backing, { readOnly: true, persistence: 'none', mapping: { readOnly: true } });
  await backing.close();
});

t.test('open: a node of another driver is ENODEV', async (t) => {
  await t.rejects(DeviceDaxBacking.open(NODE, setUp(t, SIZE, 'class/mem')), {
    name: 'DaxdError',
    code: 'ENODEV',
    message: /subsystem "mem"/,
  });
});

t.test('open: a second opener gets EBUSY with the pid of the first', async (t) => {
  const pid = await holdLock(t, NODE);
  await t.rejects(DeviceDaxBacking.open(NODE, { ...setUp(t), persistence: 'none' }), {
    name: 'DaxdError',
    code: 'EBUSY',
    message: new RegExp(`zero is locked by another process, pid ${pid}:`),
  });
});

t.test('open: a missing node is ENOENT, a file ENODEV', async (t) => {
  const options = setUp(t);
  await t.rejects(DeviceDaxBacking.open('/dev/dax99.99', options), {
    name: 'DaxdError',
    code: 'ENOENT',
  });
  await t.rejects(DeviceDaxBacking.open('/etc/passwd', { ...options, readOnly: true }), {
    name: 'DaxdError',
    code: 'ENODEV',
  });
});
