import t from 'tap';

import type { MediaIdentity } from '../../../src/lease/media-identity.js';
import { other, runs } from './restarts.js';
import { ask, setUpLeases } from './set-up.js';

t.test('restore: media older than daxd left them are refused', async (t) => {
  const { disk, clock, start } = runs();
  const first = await start();
  await first.leases.acquire(ask());
  const media = { partition: 'guid-1', filesystem: 'uuid-1', writtenSeconds: 200, mountCount: 7 };
  await first.store.commit([{ kind: 'left', partition: 'pmem0p1', media }]);
  const OLDER = { code: 'EBUSY', message: /older state/ };
  const restart = async (now: Partial<MediaIdentity>): Promise<void> => {
    const set = await setUpLeases({ disk, clock, bootId: 'boot-1' });
    set.fs.create('file', ['ww']);
    other('pmem0p1', { ...media, ...now })(set);
    await set.leases.restore();
  };
  await t.rejects(restart({ writtenSeconds: 199 }), OLDER);
  await t.rejects(restart({ mountCount: 6 }), OLDER);
  const later = { writtenSeconds: 300 };
  await t.rejects(
    restart({ ...later, mountCount: 6, checkedSeconds: 199 }),
    OLDER,
    'a copy that was mounted since',
  );
  await restart({});
  await restart({ ...later, mountCount: 8 });
  await restart({ ...later, mountCount: 1, checkedSeconds: 300 });
  await restart({ mountCount: 0, checkedSeconds: 200 });
  await restart({ ...later, mountCount: undefined });
  media.mountCount = 65_535;
  await first.store.commit([{ kind: 'left', partition: 'pmem0p1', media }]);
  await restart({ ...later, mountCount: 0 });
  t.pass('the same, later and checked ones are taken, and one whose count went round');
});
