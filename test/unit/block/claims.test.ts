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
  t.equal(claims.holder('pmem0p1'), undefined);
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
  t.equal(claims.holder('pmem0p1'), 'b');
});

t.test('shared claims of one partition get along, and keep an exclusive one out', async (t) => {
  const claims = new Claims('pmem0');
  const lease = claims.claimPartition('pmem0p1', 'raw leases', 'shared');
  const client = claims.claimPartition('pmem0p1', 'NBD clients', 'shared');
  t.throws(() => claims.claimPartition('pmem0p1', 'mount'), {
    code: 'EBUSY',
    message: 'pmem0p1 is in use by raw leases, NBD clients: end that use first',
  });
  t.throws(() => claims.claimDisk('NBD clients', 'shared'), { code: 'EBUSY' });
  lease.release();
  t.throws(() => claims.claimPartition('pmem0p1', 'mount'), { code: 'EBUSY' });
  client.release();
  const mount = claims.claimPartition('pmem0p1', 'mount');
  t.throws(() => claims.claimPartition('pmem0p1', 'NBD clients', 'shared'), {
    code: 'EBUSY',
    message: /mount/,
  });
  mount.release();
  t.equal(claims.holder('pmem0p1'), undefined);
});
