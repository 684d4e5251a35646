import t from 'tap';

import type { Lease } from '../../../src/lease/lease.js';
import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { requires } from '../../support/requires.js';
import { STALE, ask, setUpExt4 } from './ext4-set-up.js';
import type { Ext4SetUp } from './ext4-set-up.js';

const P = PAGE_SIZE;
const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };

/** What a holder sees through the extents of its lease. */
function lentBytes({ backing }: Ext4SetUp, lease: Lease): Buffer {
  return Buffer.concat(
    lease.view().extents.map(({ device_offset, length }) => {
      const bytes = Buffer.alloc(length);
      backing.mapping.read(device_offset, bytes);
      return bytes;
    }),
  );
}

/** What a device does: it stores past the filesystem. */
async function dma({ backing }: Ext4SetUp, lease: Lease, bytes: Buffer): Promise<void> {
  let done = 0;
  for (const { device_offset, length } of lease.view().extents) {
    backing.mapping.write(device_offset, bytes.subarray(done, done + length));
    await backing.persist(device_offset, length);
    done += length;
  }
}

/** Blocks with stale bytes that the filesystem may use next. */
function staleBlocks({ backing }: Ext4SetUp): number {
  let stale = 0;
  const page = Buffer.alloc(P);
  for (let offset = 4 * MIB; offset < backing.sizeBytes; offset += P) {
    backing.mapping.read(offset, page);
    if (page.every((byte) => byte === STALE)) stale++;
  }
  return stale;
}

for (const kind of ['hole', 'unwritten'] as const) {
  t.test(
    `write lease over ${kind}: zeroed, written, and what DMA puts there is kept`,
    async (t) => {
      if (!requires(t, JUDGES)) return;
      const set = await setUpExt4(t);
      const { fs, leases } = set;
      t.ok(staleBlocks(set) > 1000, 'free blocks hold stale bytes');
      const inode = await fs.create('file');
      if (kind === 'hole') await fs.truncate(inode, 64 * P, {});
      else await fs.fallocate(inode, 0, 64 * P, { keepSize: false });

      const read = await leases.acquire(ask({ length: 64 * P }));
      t.equal(read.view().pages, 0, 'a read lease leaves them out');
      t.strictSame(read.view().extents, []);
      await leases.release(read.id);
      t.ok(
        fs.extents(inode).every(({ unwritten }) => unwritten),
        'and changes nothing',
      );

      const lease = await leases.acquire(
        ask({ offset: 10 * P + 1, length: 20 * P, access: 'write' }),
      );
      const { extents, pages } = lease.view();
      t.equal(pages, 21);
      t.equal(
        extents.reduce((sum, { length }) => sum + length, 0),
        20 * P,
      );
      t.strictSame(lentBytes(set, lease), Buffer.alloc(20 * P), 'no stale byte is lent');
      const sent = Buffer.alloc(20 * P, 0x5c);
      await dma(set, lease, sent);
      const content = Buffer.alloc(64 * P);
      sent.copy(content, 10 * P + 1);
      const seen = Buffer.alloc(64 * P, 1);
      t.equal(fs.read(inode, 0, seen), 64 * P);
      t.ok(seen.equals(content), 'a read sees it');
      await leases.release(lease.id);
      t.match(await set.judge(), { status: 0 });
      t.ok(set.dump('file').equals(content), 'debugfs reads it');
    },
  );
}

t.test(
  'write lease: one page in the middle of unwritten ones, and written ones are kept',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const set = await setUpExt4(t);
    const { fs, leases } = set;
    const inode = await fs.create('file');
    await fs.fallocate(inode, 0, 9 * P, { keepSize: false });
    await fs.write(inode, 4 * P + 10, Buffer.from('kept'));
    const lease = await leases.acquire(ask({ offset: 3 * P, length: 3 * P, access: 'write' }));
    const expected = Buffer.alloc(3 * P);
    expected.write('kept', P + 10);
    t.ok(lentBytes(set, lease).equals(expected));
    const written = fs.extents(inode).filter(({ unwritten }) => !unwritten);
    t.equal(
      written.reduce((sum, { length }) => sum + length, 0),
      3 * P,
      'the others stay unwritten',
    );
    await leases.release(lease.id);
    t.match(await set.judge(), { status: 0 });
  },
);

t.test('write lease: up to the end of the last page of a file that ends inside it', async (t) => {
  if (!requires(t, JUDGES)) return;
  const set = await setUpExt4(t);
  const { fs, leases } = set;
  const inode = await fs.create('file');
  await fs.truncate(inode, P + 100, {});
  const lease = await leases.acquire(ask({ offset: P, length: P, access: 'write' }));
  t.ok(lentBytes(set, lease).equals(Buffer.alloc(P)));
  t.equal(fs.stat(inode).size, P + 100, 'the size stays');
  const beyond = ask({ offset: P, length: P + 1, access: 'write' });
  await t.rejects(leases.acquire(beyond), { name: 'DaxdError', code: 'EINVAL' });
  await leases.release(lease.id);
  t.match(await set.judge(), { status: 0 });
});

t.test('write lease: a full filesystem is ENOSPC and leaves no pin', async (t) => {
  if (!requires(t, JUDGES)) return;
  const set = await setUpExt4(t);
  const { fs, leases, pinnedPages } = set;
  const inode = await fs.create('file');
  await fs.truncate(inode, 64 * MIB, {});
  const all = ask({ length: 64 * MIB, access: 'write' });
  await t.rejects(leases.acquire(all), { name: 'DaxdError', code: 'ENOSPC' });
  t.equal(pinnedPages(), 0);
  t.match(await set.judge(), { status: 0 });
});

t.test('write lease: cancelled while it is prepared leaves no pin', async (t) => {
  if (!requires(t, JUDGES)) return;
  const set = await setUpExt4(t);
  const { fs, leases, pinnedPages } = set;
  const inode = await fs.create('file');
  await fs.truncate(inode, 512 * P, {});
  const abort = new AbortController();
  const asked = leases.acquire(ask({ length: 512 * P, access: 'write' }), abort.signal);
  abort.abort();
  await t.rejects(asked, { name: 'DaxdError', code: 'cancelled' });
  t.equal(pinnedPages(), 0);
  t.equal(leases.size, 0);
  await fs.truncate(inode, 0, {});
  t.match(await set.judge(), { status: 0 });
});
