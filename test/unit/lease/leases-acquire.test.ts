import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import type { LeaseRequest } from '../../../src/lease/lease-request.js';
import { PREPARE_ATTEMPTS_MAX, TTL_MS_MAX } from '../../../src/lease/limits.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import { Gate } from '../base/gate.js';
import { RAW_BYTES, RAW_START, FS_START, ask, askRaw, setUpLeases } from './set-up.js';

const P = PAGE_SIZE;

t.test('acquire: pins the pages of the range, rounded out, and answers with them', async (t) => {
  const { leases, fs, pinnedPages, lines } = await setUpLeases();
  const file = fs.create('file', ['ww', 'ww']);
  const block = file.blocks.get(1)?.block ?? 0;
  const lease = await leases.acquire(ask({ offset: P + 100, length: 50, client: 'me' }));
  t.match(lease.view(), {
    state: 'active',
    partition: 'pmem0p1',
    path: 'file',
    offset: P + 100,
    length: 50,
    pages: 1,
    backing_path: '(memory)',
    extents: [{ file_offset: P + 100, device_offset: FS_START + block * P + 100, length: 50 }],
  });
  t.equal(pinnedPages(), 1);
  const whole = await leases.acquire(ask({ length: 4 * P }));
  t.equal(whole.view().extents.length, 2, 'what is contiguous is one extent');
  t.equal(pinnedPages(), 4, 'leases share pages');
  t.match(lines.at(-1), { level: 'info', fields: { lease: whole.id }, message: 'lease granted' });
  t.equal(leases.counters.requests.granted, 2);
  t.strictSame(leases.counters.held.active, { read: 2, write: 0 });
});

t.test('acquire: a read lease leaves out holes and unwritten pages', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['w-uw']);
  const lease = await leases.acquire(ask({ length: 4 * P }));
  t.strictSame(
    lease.view().extents.map(({ file_offset, length }) => [file_offset, length]),
    [
      [0, P],
      [3 * P, P],
    ],
  );
  t.equal(lease.view().pages, 2);
  t.equal(pinnedPages(), 2);
  t.equal(fs.prepares, 0, 'nothing is changed');
  const hole = await leases.acquire(ask({ offset: P, length: P }));
  t.match(hole.view(), { pages: 0, state: 'active' });
  t.strictSame(hole.view().extents, []);
});

t.test('acquire: a write lease has every page prepared first', async (t) => {
  const { leases, fs } = await setUpLeases();
  fs.create('file', ['w-uw']);
  const lease = await leases.acquire(ask({ offset: P, length: P + 1, access: 'write' }));
  t.equal(fs.prepares, 1);
  t.equal(lease.view().pages, 2);
  t.equal(
    lease.view().extents.reduce((sum, { length }) => sum + length, 0),
    P + 1,
  );
});

t.test(
  'acquire: a hole that comes back is prepared again, a bounded number of times',
  async (t) => {
    const { leases, fs, pinnedPages } = await setUpLeases();
    fs.create('file', ['w-']);
    fs.afterPrepare = () => {
      if (fs.prepares < 3) fs.punch('file', 1);
    };
    const lease = await leases.acquire(ask({ length: 2 * P, access: 'write' }));
    t.equal(fs.prepares, 3);
    t.equal(lease.pages, 2);
    await leases.release(lease.id);

    fs.prepares = 0;
    fs.afterPrepare = () => {
      fs.punch('file', 1);
    };
    const request = ask({ length: 2 * P, access: 'write' });
    await t.rejects(leases.acquire(request), refusal('EBUSY'));
    t.equal(fs.prepares, PREPARE_ATTEMPTS_MAX);
    t.equal(pinnedPages(), 0);
  },
);

t.test(
  'acquire: another file under the name is prepared too, a vanished one is ENOENT',
  async (t) => {
    const { leases, fs, pinnedPages } = await setUpLeases();
    fs.create('file', ['--']);
    const other = fs.create('other', ['ww']);
    fs.afterPrepare = () => {
      if (fs.prepares === 1) fs.rename('other', 'file');
    };
    const lease = await leases.acquire(ask({ length: 2 * P, access: 'write' }));
    t.equal(lease.terms.inode, other.inode);
    t.equal(fs.prepares, 2, 'written is not yet durable');
    await leases.release(lease.id);

    fs.afterPrepare = () => {
      fs.unlink('file');
    };
    await t.rejects(leases.acquire(ask({ access: 'write' })), refusal('ENOENT'));
    t.equal(pinnedPages(), 0);
  },
);

t.test('acquire: a file that got the inode of the prepared one is prepared itself', async (t) => {
  const { leases, fs } = await setUpLeases();
  fs.create('file', ['-']);
  fs.afterPrepare = () => {
    if (fs.prepares === 1) fs.reuseInode('file');
  };
  await leases.acquire(ask({ access: 'write' }));
  t.equal(fs.prepares, 2, 'path and inode are the same, the generation is not');
});

t.test('acquire: a partition that is unmounted during the preparation is not leased', async (t) => {
  const { leases, fs, targets, pinnedPages } = await setUpLeases();
  fs.create('file', ['-']);
  fs.afterPrepare = () => {
    targets.delete('pmem0p1');
  };
  await t.rejects(leases.acquire(ask({ access: 'write' })), refusal('ENOENT'));
  t.equal(pinnedPages(), 0);
});

t.test('acquire: the range starts inside the file and ends with its last page', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['ww'], P + 10);
  fs.create('empty', []);
  const last = await leases.acquire(ask({ offset: P + 9, length: P - 9 }));
  t.equal(last.view().pages, 1);
  await leases.release(last.id);
  const wrong: Partial<LeaseRequest>[] = [
    { offset: P + 10, length: 1 },
    { offset: 2 * P, length: 1 },
    { offset: 0, length: 2 * P + 1 },
    { offset: P + 9, length: P },
    { offset: -1, length: 1 },
    { offset: 0, length: 0 },
    { offset: 0.5, length: 1 },
    { offset: 0, length: 2 ** 53 },
    { offset: 2 ** 53, length: 1 },
    { offset: Number.MAX_SAFE_INTEGER, length: 1 },
    { path: 'empty' },
    { ttlMs: 999 },
    { ttlMs: TTL_MS_MAX + 1 },
    { ttlMs: 1000.5 },
    { pid: 1 },
    { pidStart: 1 },
    { pid: 0, pidStart: 1 },
    { pid: 1, pidStart: -1 },
    { cgroup: '/there', pid: 7, pidStart: 70 },
    { cgroup: '/there', pidStart: 70 },
    ...[
      '',
      'there',
      '/there/',
      '//there',
      '/a/./there',
      '/../there',
      '/a/..',
      '/a\0',
      '/\ud800',
    ].map((cgroup) => ({ cgroup })),
    { cgroup: `/${'a'.repeat(4095)}` },
  ];
  for (const request of wrong) {
    await t.rejects(leases.acquire(ask(request)), refusal('EINVAL'), JSON.stringify(request));
  }
  t.equal(pinnedPages(), 0);
  t.equal(leases.size, 0);
  t.equal(leases.counters.requests.error, wrong.length);
});

t.test('acquire: what is no regular file, or not there, is refused', async (t) => {
  const { leases, fs } = await setUpLeases();
  fs.createOther('dir', 'directory');
  fs.createOther('pipe', 'fifo');
  await t.rejects(leases.acquire(ask({ path: 'dir' })), refusal('EISDIR'));
  await t.rejects(leases.acquire(ask({ path: 'pipe' })), refusal('EINVAL'));
  await t.rejects(leases.acquire(ask({ path: 'nope' })), refusal('ENOENT'));
  await t.rejects(leases.acquire(ask({ partition: 'pmem0p9' })), refusal('ENOENT'));
});

t.test('acquire: read-only media are leased for reading alone', async (t) => {
  const { leases, fs } = await setUpLeases({ readOnly: true });
  fs.create('file', ['w']);
  await leases.acquire(ask());
  await leases.acquire(askRaw());
  await t.rejects(leases.acquire(ask({ access: 'write' })), refusal('EROFS'));
  await t.rejects(leases.acquire(askRaw({ access: 'write' })), refusal('EROFS'));
});

t.test('acquire: a raw range is pinned as it is, whole blocks by their heads', async (t) => {
  const { leases, pinnedPages, memremap } = await setUpLeases();
  const lease = await leases.acquire(
    askRaw({ offset: 100, length: 2 * PMD_SIZE, access: 'write' }),
  );
  t.match(lease.view(), {
    pages: 1025,
    extents: [{ file_offset: 100, device_offset: RAW_START + 100, length: 2 * PMD_SIZE }],
  });
  t.equal(pinnedPages(), 1025);
  await t.rejects(leases.acquire(askRaw({ offset: RAW_BYTES })), refusal('EINVAL'));
  await t.rejects(leases.acquire(askRaw({ length: RAW_BYTES + 1 })), refusal('EINVAL'));
  await leases.release(lease.id);
  t.equal(pinnedPages(), 0);
  t.equal(memremap.pageFreeTotal, 3, 'one edge a block and one for the page behind them');
});

t.test('acquire: raw leases share one claim, which goes with the last of them', async (t) => {
  const { leases, claims } = await setUpLeases();
  const one = await leases.acquire(askRaw());
  const two = await leases.acquire(askRaw());
  t.throws(() => claims.claimPartition('pmem0p2', 'ext4'), refusal('EBUSY'));
  await leases.release(one.id);
  t.throws(() => claims.claimPartition('pmem0p2', 'ext4'), refusal('EBUSY'));
  await leases.release(two.id);
  const claim = claims.claimPartition('pmem0p2', 'ext4');
  await t.rejects(leases.acquire(askRaw()), refusal('EBUSY'));
  t.equal(leases.counters.requests.conflict, 1);
  claim.release();
  await leases.acquire(askRaw());
});

t.test('acquire: the path and the mount go together', async (t) => {
  const { leases } = await setUpLeases();
  await t.rejects(leases.acquire(askRaw({ partition: 'pmem0p1' })), refusal('EBUSY'));
  await t.rejects(leases.acquire(ask({ partition: 'pmem0p2' })), refusal('EINVAL'));
});

t.test('acquire: a device that is going takes no pin, and no claim is left', async (t) => {
  const { leases, fs, device, claims, pinnedPages } = await setUpLeases();
  fs.create('file', ['w', 'w']);
  const held = await leases.acquire(ask());
  const detached = device.devres.releaseAll();
  await t.rejects(leases.acquire(ask({ length: 2 * P })), refusal('ENXIO'));
  await t.rejects(leases.acquire(askRaw()), refusal('ENXIO'));
  t.equal(claims.holder('pmem0p2'), undefined);
  t.equal(pinnedPages(), 1);
  await leases.release(held.id);
  await detached;
  t.equal(pinnedPages(), 0);
});

t.test('acquire: a cancelled request leaves no pin', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['-']);
  const before = new AbortController();
  before.abort();
  await t.rejects(leases.acquire(ask(), before.signal), refusal('cancelled'));
  const during = new AbortController();
  fs.afterPrepare = () => {
    during.abort();
  };
  const request = ask({ access: 'write' });
  await t.rejects(leases.acquire(request, during.signal), refusal('cancelled'));
  t.equal(pinnedPages(), 0);
  t.equal(leases.size, 0);
});

t.test('acquire: what the preparation throws is the answer', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['-']);
  fs.beforePrepare = () => {
    fs.unlink('file');
  };
  await t.rejects(leases.acquire(ask({ access: 'write' })), refusal('ENOENT'));
  t.equal(pinnedPages(), 0);
});

/** A lease of a file whose blocks are durable once a gate opens; they are pinned by then. */
async function acquireEarly() {
  const set = await setUpLeases();
  set.fs.create('file', ['w']);
  const gate = new Gate();
  set.fs.durable = gate.passed;
  const granted = set.leases.acquire(ask());
  await setImmediate();
  return { ...set, gate, granted };
}

t.test('acquire: the extents that it names are durable before it is', async (t) => {
  const { store, pinnedPages, gate, granted } = await acquireEarly();
  t.equal(pinnedPages(), 1, 'pinned by then, so that they stay where they are');
  t.equal(store.disk.records.size, 0);
  gate.open();
  const { id } = await granted;
  t.ok(store.disk.records.has(id));
});

t.test('acquire: where the filesystem fails before, nothing is held', async (t) => {
  const { leases, store, pinnedPages, gate, granted } = await acquireEarly();
  gate.fail(new DaxdError('EIO', 'the media failed'));
  await t.rejects(granted, { code: 'EIO' });
  t.equal(pinnedPages(), 0);
  t.equal(leases.size, 0);
  t.equal(store.disk.records.size, 0);
});

t.test('acquire: what the media do not hold yet is not lent', async (t) => {
  const { leases, fs, pinnedPages } = await setUpLeases();
  fs.create('file', ['w']);
  fs.assertLendable = () => {
    throw new DaxdError('EOPNOTSUPP', 'it stands in the journal');
  };
  await t.rejects(leases.acquire(ask()), refusal('EOPNOTSUPP'));
  await t.rejects(leases.acquire(ask({ access: 'write' })), refusal('EOPNOTSUPP'));
  t.equal(pinnedPages(), 0);
});
