import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statfsSync, statSync, symlinkSync, truncateSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import type { OpenBackingOptions } from '../../../src/media/backing.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { withLoopMount } from '../../support/ext4-image.js';
import { requires } from '../../support/requires.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { mountSmallExt4 } from './mounts.js';
import { warnings } from './warnings.js';

const log = silentLogger;

/** A folder with an allocated image of 16 pages that holds 0x5a. */
function setUp(t: Test): { directory: string; image: string } {
  const directory = t.testdir({ 'pmem0.img': Buffer.alloc(65536, 0x5a) });
  return { directory, image: join(directory, 'pmem0.img') };
}

t.test('openBacking: an existing file keeps its size and its bytes', async (t) => {
  const { image } = setUp(t);
  const { log, messages } = warnings();
  const backing = await openBacking(image, { sizeBytes: 4096, log });
  t.teardown(() => backing.close());
  t.match(backing, { kind: 'file', sizeBytes: 65536, created: false, sparse: false });
  t.equal(backing.persistence, 'msync');
  t.equal(backing.mapping.view(65535, 1)[0], 0x5a);
  t.equal(statSync(image).size, 65536);
  t.strictSame(messages, []);
});

t.test('openBacking: stores are seen through the file, and stay', async (t) => {
  const { image } = setUp(t);
  const backing = await openBacking(image, { log });
  backing.mapping.write(4090, Buffer.from('twelve bytes'));
  await backing.persist(4090, 12);
  t.equal(backing.persistLatency.count, 1);
  await backing.close();
  t.equal(readFileSync(image).toString('latin1', 4090, 4102), 'twelve bytes');
});

t.test('openBacking: a missing file without a size is ENOENT and stays missing', async (t) => {
  const path = join(t.testdir({}), 'pmem0.img');
  await t.rejects(openBacking(path, { log }), {
    name: 'DaxdError',
    code: 'ENOENT',
    message: /pmem0\.img is not there: give --size/,
  });
  await t.rejects(openBacking('/dev/dax99.0', { log, sizeBytes: 65_536 }), {
    code: 'ENOENT',
    message: /nothing is created in \/dev: load the driver/,
  });
  await t.rejects(openBacking(path, { log, sizeBytes: 4096, readOnly: true }), {
    name: 'DaxdError',
    code: 'ENOENT',
    message: /--read-only/,
  });
  t.notOk(existsSync(path));
});

t.test('openBacking: a missing directory is ENOENT that says so', async (t) => {
  const path = join(t.testdir({}), 'none', 'pmem0.img');
  await t.rejects(openBacking(path, { log, sizeBytes: 4096 }), {
    name: 'DaxdError',
    code: 'ENOENT',
    message: /its directory is not there/,
  });
});

t.test('openBacking: a created file is allocated in full, without a warning', async (t) => {
  const path = join(t.testdir({}), 'pmem0.img');
  const { log, messages } = warnings();
  const backing = await openBacking(path, { sizeBytes: 8 * 2 ** 20, log });
  t.teardown(() => backing.close());
  t.match(backing, { created: true, sparse: false, sizeBytes: 8 * 2 ** 20 });
  const stat = statSync(path);
  t.ok(stat.blocks * 512 >= stat.size, 'every byte has a block');
  t.equal(stat.mode & 0o777, 0o600);
  t.strictSame(messages, []);
});

t.test('openBacking: a sparse file warns, created or found; not when only read', async (t) => {
  const path = join(t.testdir({}), 'pmem0.img');
  const { log, messages } = warnings();
  const created = await openBacking(path, { sizeBytes: 2 ** 20, sparse: true, log });
  await created.close();
  t.match(created, { created: true, sparse: true });
  t.equal(statSync(path).blocks, 0);
  t.match(messages, [/sparse/]);

  const found = await openBacking(path, { log });
  await found.close();
  t.match(found, { created: false, sparse: true });
  t.match(messages, [/sparse/, /sparse/]);

  const read = await openBacking(path, { log, readOnly: true });
  await read.close();
  t.equal(read.sparse, true);
  t.equal(messages.length, 2);
});

t.test('openBacking: a size that is not whole pages is EINVAL, nothing is made', async (t) => {
  const directory = t.testdir({ short: Buffer.alloc(5000, 1), empty: '' });
  for (const sizeBytes of [4097, 512, 0, -4096, Number.NaN]) {
    const path = join(directory, 'new');
    await t.rejects(openBacking(path, { sizeBytes, log }), { name: 'DaxdError', code: 'EINVAL' });
    t.notOk(existsSync(path));
  }
  await t.rejects(openBacking(join(directory, 'short'), { log }), {
    name: 'DaxdError',
    code: 'EINVAL',
    message: /short: size 5000 is not a multiple of 4096/,
  });
  await t.rejects(openBacking(join(directory, 'empty'), { log }), {
    name: 'DaxdError',
    code: 'EINVAL',
    message: /size of 0 holds nothing: give --size/,
  });
  t.ok(readFileSync(join(directory, 'short')).equals(Buffer.alloc(5000, 1)));
  t.equal(statSync(join(directory, 'empty')).size, 0);
});

t.test(
  'openBacking: an empty file is given its size, as a start leaves one that is killed',
  async (t) => {
    const path = join(t.testdir({ 'pmem0.img': '' }), 'pmem0.img');
    const { bfree, bsize } = statfsSync(t.testdirName);
    await t.rejects(openBacking(path, { sizeBytes: (bfree + 2 ** 28) * bsize, log }), {
      code: 'ENOSPC',
    });
    t.equal(statSync(path).size, 0, 'empty still where it does not fit');
    await t.rejects(openBacking(path, { sizeBytes: 65536, readOnly: true, log }), {
      code: 'EINVAL',
    });
    const backing = await openBacking(path, { sizeBytes: 65536, log });
    t.match(backing, { sizeBytes: 65536, sparse: false, created: false });
    await t.rejects(openBacking(path, { sizeBytes: 65536, log }), { code: 'EBUSY' });
    await backing.close();
    t.equal(statSync(path).size, 65536);
  },
);

t.test('openBacking: what is no file is named for what it is', async (t) => {
  const directory = t.testdir({});
  await t.rejects(openBacking(directory, { log }), { name: 'DaxdError', code: 'EISDIR' });

  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  await t.rejects(openBacking(fifo, { log }), {
    name: 'DaxdError',
    code: 'EINVAL',
    message: /fifo is a fifo/,
  });

  const socket = join(temporaryDirectory(t), 'socket');
  const server = createServer().listen(socket);
  t.teardown(() => server.close());
  await t.rejects(openBacking(socket, { log }), {
    name: 'DaxdError',
    code: 'EINVAL',
    message: /is a socket/,
  });
});

t.test('openBacking: a symlink is followed; to nothing it is never created through', async (t) => {
  const { directory, image } = setUp(t);
  symlinkSync(image, join(directory, 'link'));
  const backing = await openBacking(join(directory, 'link'), { log });
  t.teardown(() => backing.close());
  t.equal(backing.sizeBytes, 65536);

  symlinkSync(join(directory, 'nothing'), join(directory, 'dangling'));
  await t.rejects(openBacking(join(directory, 'dangling'), { sizeBytes: 4096, log }), {
    name: 'DaxdError',
    code: 'EEXIST',
    message: /symlink to nothing/,
  });
  t.notOk(existsSync(join(directory, 'nothing')));
});

t.test('openBacking: a character device of another driver is ENODEV', async (t) => {
  await t.rejects(openBacking('/dev/null', { log }), {
    name: 'DaxdError',
    code: 'ENODEV',
    message: /\/dev\/null \(1:3\) belongs to subsystem "mem"/,
  });
});

t.test('openBacking: a block device is EINVAL', async (t) => {
  if (!requires(t, { commands: ['mknod'], root: true })) return;
  const path = join(t.testdir({}), 'block');
  execFileSync('mknod', [path, 'b', '7', '250']);
  await t.rejects(openBacking(path, { log }), {
    name: 'DaxdError',
    code: 'EINVAL',
    message: /is a block device/,
  });
});

t.test('openBacking: a disk that cannot hold it is ENOSPC, and no file is left', async (t) => {
  const path = join(t.testdir({}), 'pmem0.img');
  const { bfree, bsize } = statfsSync(t.testdirName);
  const sizeBytes = (bfree + 2 ** 28) * bsize;
  await t.rejects(openBacking(path, { sizeBytes, log }), {
    name: 'DaxdError',
    code: 'ENOSPC',
    message: /do not fit, \d+ are free/,
  });
  t.notOk(existsSync(path));
});

t.test('openBacking: ENOSPC from fallocate itself leaves no file either', async (t) => {
  if (!requires(t, { commands: ['mkfs.ext4', 'mount'], root: true })) return;
  const mountpoint = mountSmallExt4(t, t.testdir({}));
  // ext4 keeps some of the blocks that it reports as free to itself.
  const { bfree, bsize } = statfsSync(mountpoint);
  const path = join(mountpoint, 'pmem0.img');
  await t.rejects(openBacking(path, { sizeBytes: bfree * bsize, log }), {
    name: 'DaxdError',
    code: 'ENOSPC',
    message: /fallocate of .*pmem0\.img/,
  });
  t.notOk(existsSync(path));
  t.equal(statfsSync(mountpoint).bfree, bfree, 'its blocks are free again');
});

t.test('openBacking: read-only maps what it cannot write, and locks it', async (t) => {
  const { image } = setUp(t);
  const backing = await openBacking(image, { readOnly: true, log });
  t.teardown(() => backing.close());
  t.match(backing, { readOnly: true, mapping: { readOnly: true } });
  t.equal(backing.mapping.view(0, 1)[0], 0x5a);
  const line = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((line) => line.endsWith(image));
  t.match(line, / r--s /);
  await t.rejects(openBacking(image, { log }), { name: 'DaxdError', code: 'EBUSY' });
});

t.test('checkSize: EIO once the file is smaller than what is mapped', async (t) => {
  const { image } = setUp(t);
  const backing = await openBacking(image, { log });
  t.teardown(() => backing.close());
  backing.checkSize();
  truncateSync(image, 131072);
  backing.checkSize();
  truncateSync(image, 65535);
  t.throws(
    () => {
      backing.checkSize();
    },
    { code: 'EIO', message: /shrank from 65536 to 65535 bytes/ },
  );
});

t.test('persistence: none on tmpfs, and where it is asked for, with a warning', async (t) => {
  const tmpfs = scratchDirectory(t);
  const cases: [string, Partial<OpenBackingOptions>][] = [
    [join(tmpfs, 'pmem0.img'), {}],
    [join(t.testdir({}), 'pmem0.img'), { persistence: 'none' }],
  ];
  for (const [path, options] of cases) {
    const { log, messages } = warnings();
    const backing = await openBacking(path, { sizeBytes: 65536, log, ...options });
    t.equal(backing.persistence, 'none');
    t.match(messages, [/not made durable/]);
    backing.mapping.fill(0, 65536, 1);
    await backing.persist(0, 65536);
    t.equal(backing.persistLatency.count, 0, 'persist had nothing to do');
    await backing.close();
  }
});

t.test('open: not while the kernel has it mounted for writing', async (t) => {
  if (!requires(t, { root: true, commands: ['mkfs.ext4', 'mount', 'losetup'] })) return;
  const { image } = setUp(t);
  truncateSync(image, 16 * 2 ** 20);
  execFileSync('mkfs.ext4', ['-q', image]);
  const opened = async (): Promise<void> => (await openBacking(image, { log })).close();
  await withLoopMount(image, 'rw', async (mountpoint) => {
    await t.rejects(opened(), {
      code: 'EBUSY',
      message: new RegExp(`is mounted by the kernel on ${mountpoint}, through /dev/loop`),
    });
    await (await openBacking(image, { log, readOnly: true })).close();
  });
  await withLoopMount(image, 'ro', opened);
  await opened();
});
