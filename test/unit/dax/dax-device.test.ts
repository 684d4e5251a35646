import t from 'tap';

import { DaxDevice } from '../../../src/dax/dax-device.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';

function setUp(available: number): DaxDevice {
  return new DaxDevice('pmem0', {
    directAccess: (pageOffset) => ({ pfn: 100 + pageOffset, available }),
  });
}

t.test('directAccess: gives at most the pages asked for', async (t) => {
  t.strictSame(setUp(10).directAccess(2, 4), { pfn: 102, available: 4 });
  t.strictSame(setUp(1).directAccess(2, 4), { pfn: 102, available: 1 }, 'one page a call');
});

t.test('directAccess: a disk without the page is ERANGE', async (t) => {
  t.throws(() => setUp(0).directAccess(2, 4), { code: 'ERANGE' });
});

t.test('directAccess: what the driver throws comes through', async (t) => {
  const device = new DaxDevice('pmem0', {
    directAccess() {
      throw new DaxdError('EIO', 'a bad block');
    },
  });
  t.throws(() => device.directAccess(0, 1), { code: 'EIO' });
});

t.test('kill: every later access is ENXIO', async (t) => {
  const device = setUp(10);
  t.ok(device.alive);
  device.kill();
  device.kill();
  t.notOk(device.alive);
  t.throws(() => device.directAccess(0, 1), { code: 'ENXIO' });
});

t.test('directAccess: no page, or one before the start, breaks an invariant', async (t) => {
  t.throws(() => setUp(1).directAccess(0, 0), InvariantError);
  t.throws(() => setUp(1).directAccess(-1, 1), InvariantError);
});
