import t from 'tap';

import { Claims } from '../../../src/block/claims.js';

t.test('claimPartition: one holder a partition, each partition its own', async (t) => {
  const claims = new Claims('pmem0');
  const first = claims.claimPartition('pmem0p1', 'mount');
  claims.claimPartition('pmem0p2', 'format');
  t.throws(() => claims.claimPartition('pmem0p1', 'lease'), {
    code: 'EBUSY',
    message: 'pmem0p1 is in use by mount: end that use first',
  });
  first.release();
  t.equal(claims.partitionHolder('pmem0p1'), undefined);
  t.equal(claims.claimPartition('pmem0p1', 'lease').holder, 'lease');
});

t.test('claimDisk: excludes partitions, and they exclude it', async (t) => {
  const claims = new Claims('pmem0');
  const part = claims.claimPartition('pmem0p1', 'mount');
  t.throws(() => claims.claimDisk('format'), { code: 'EBUSY', message: /pmem0p1.*mount/ });
  part.release();
  const disk = claims.claimDisk('format');
  t.throws(() => claims.claimPartition('pmem0p2', 'lease'), {
    code: 'EBUSY',
    message: /pmem0 .*format/,
  });
  t.throws(() => claims.claimDisk('mount'), { code: 'EBUSY' });
  disk.release();
  t.equal(claims.diskHolder, undefined);
});

t.test('release: again does nothing, also when another holds it by then', async (t) => {
  const claims = new Claims('pmem0');
  const first = claims.claimPartition('pmem0p1', 'a');
  first.release();
  claims.claimPartition('pmem0p1', 'b');
  first.release();
  t.equal(claims.partitionHolder('pmem0p1'), 'b');
});
