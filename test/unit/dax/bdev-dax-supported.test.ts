import t from 'tap';

import { bdevDaxSupported, type DaxSupportOptions } from '../../../src/dax/bdev-dax-supported.js';
import { DaxDevice } from '../../../src/dax/dax-device.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { MIB } from '../../../src/lib/units.js';
import { mapPages, type MappedPages } from '../mm/set-up.js';

/** A disk of 1024 pages; `pages` of them, from its first on, have counts. */
async function setUp(pages = 1024): Promise<{ mapped: MappedPages; options: DaxSupportOptions }> {
  const mapped = await mapPages({ pages, firstPfn: 1536 });
  const daxDevice = new DaxDevice('pmem0', {
    directAccess: (pageOffset) => ({ pfn: 1536 + pageOffset, available: 1024 - pageOffset }),
  });
  const { memremap } = mapped;
  const options = { startBytes: MIB, sizeBytes: 3 * MIB, daxDevice, memremap, blockSize: 4096 };
  return { mapped, options };
}

t.test(
  'bdevDaxSupported: yes on aligned pages of one FS_DAX pagemap, and keeps no use',
  async (t) => {
    const { mapped, options } = await setUp();
    t.strictSame(bdevDaxSupported(options), { supported: true });
    t.equal(mapped.ref.count, 1024);
  },
);

t.test('bdevDaxSupported: each check refuses with its errno, in order', async (t) => {
  const { options } = await setUp();
  const dead = new DaxDevice('pmem0', { directAccess: () => ({ pfn: 0, available: 1 }) });
  dead.kill();
  // Each row breaks its own check and all that come after it.
  let broken: DaxSupportOptions = options;
  const rows: [Partial<DaxSupportOptions>, string, RegExp][] = [
    [{ daxDevice: dead }, 'EOPNOTSUPP', /no dax device/],
    [{ sizeBytes: 3 * MIB + 512 }, 'EINVAL', /size 3146240/],
    [{ startBytes: 512 }, 'EINVAL', /start 512/],
    [{ blockSize: 1024 }, 'EINVAL', /block size 1024/],
  ];
  for (const [change, errno, reason] of rows) {
    broken = { ...broken, ...change };
    t.match(bdevDaxSupported(broken), { supported: false, errno, reason });
  }
  t.match(bdevDaxSupported({ ...options, daxDevice: undefined }), { errno: 'EOPNOTSUPP' });
  t.match(bdevDaxSupported({ ...options, sizeBytes: 0 }), { errno: 'EINVAL' });
});

t.test('bdevDaxSupported: looks at the first and at the last page of the partition', async (t) => {
  const { options } = await setUp();
  const asked: number[] = [];
  const failing = (badPage: number): DaxDevice =>
    new DaxDevice('pmem0', {
      directAccess(pageOffset) {
        asked.push(pageOffset);
        if (pageOffset === badPage) throw new DaxdError('EIO', 'a bad block');
        return { pfn: 1536 + pageOffset, available: 1 };
      },
    });
  t.match(bdevDaxSupported({ ...options, daxDevice: failing(256) }), { errno: 'EIO' });
  t.match(bdevDaxSupported({ ...options, daxDevice: failing(1023) }), {
    errno: 'EIO',
    reason: /page 1023 of the disk/,
  });
  t.match(bdevDaxSupported({ ...options, daxDevice: failing(600) }), { supported: true });
  t.strictSame(asked, [256, 256, 1023, 256, 1023]);
});

t.test('bdevDaxSupported: a partition beyond the disk is ERANGE', async (t) => {
  const { options } = await setUp();
  t.match(bdevDaxSupported({ ...options, sizeBytes: 4 * MIB }), { errno: 'ERANGE' });
});

t.test('bdevDaxSupported: no pagemap, another type, or an end past it is EOPNOTSUPP', async (t) => {
  const short = await setUp(1000);
  t.match(bdevDaxSupported(short.options), { errno: 'EOPNOTSUPP', reason: /one pagemap/ });

  const { mapped, options } = await setUp();
  mapped.pgmap.type = undefined;
  t.match(bdevDaxSupported(options), { errno: 'EOPNOTSUPP', reason: /goes idle/ });
  t.equal(mapped.ref.count, 1024);
  await mapped.device.devres.releaseAll();
  t.match(bdevDaxSupported(options), { errno: 'EOPNOTSUPP', reason: /no page counts/ });
});

t.test('bdevDaxSupported: a defect in the driver is not taken for a refusal', async (t) => {
  const { options } = await setUp();
  const daxDevice = new DaxDevice('pmem0', {
    directAccess() {
      throw new TypeError('defect');
    },
  });
  t.throws(() => bdevDaxSupported({ ...options, daxDevice }), TypeError);
});
