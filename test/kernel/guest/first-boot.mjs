// First boot: make the filesystem on /dev/dax0.0, write, lend a page, let a truncate wait, stop.
import assert from 'node:assert/strict';

import { call, pattern, startDaxd } from './daemon.mjs';

const daxd = await startDaxd('--backing', '/dev/dax0.0', '--init');
const { body: device } = await call('GET', '/device');
console.log(JSON.stringify(device.backing), JSON.stringify(device.namespace));
assert.equal(device.backing.kind, 'device-dax');
assert.equal(device.backing.persistence, 'libpmem');
assert.ok(device.attach.every((step) => step.ok));

const files = '/partitions/pmem0p1/files';
assert.equal((await call('PUT', `${files}/kept.bin`, pattern(3_000_000, 7))).status, 201);
assert.equal((await call('PUT', `${files}/cut.bin`, pattern(65_536, 9))).status, 201);

const lease = await call('POST', '/leases', {
  partition: 'pmem0p1',
  path: 'cut.bin',
  offset: 8192,
  length: 4096,
  access: 'write',
  ttl_ms: 60_000,
});
assert.equal(lease.status, 201, lease.bytes.toString());
assert.equal(lease.body.pages, 1);

let finished = false;
const truncate = call('POST', '/partitions/pmem0p1/truncate', { path: 'cut.bin', size: 100 }).then(
  (answer) => {
    finished = true;
    return answer;
  },
);
for (let tries = 0; tries < 100; tries++) {
  const { body } = await call('GET', '/operations');
  if (JSON.stringify(body).includes(lease.body.id)) break;
}
assert.equal(finished, false, 'the truncate waits for the lease');
const second = await call('POST', '/leases', {
  partition: 'pmem0p1',
  path: 'cut.bin',
  offset: 8192,
  length: 4096,
  access: 'read',
  ttl_ms: 60_000,
});
assert.equal(second.status, 409);
assert.equal(second.body.code, 'recall-conflict');
assert.equal((await call('DELETE', `/leases/${lease.body.id}`)).status < 300, true);
const { status, body } = await truncate;
assert.equal(status, 200);
console.log(`truncate: ${JSON.stringify(body)}`);
assert.equal(body.size, 100);
assert.ok(body.waited_ms > 0);

// SIGTERM while a truncate waits: it is refused, its file stays, and nobody waits for the holder.
const kept = await call('POST', '/leases', {
  partition: 'pmem0p1',
  path: 'kept.bin',
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 60_000,
});
const refused = call('POST', '/partitions/pmem0p1/truncate', { path: 'kept.bin', size: 0 });
for (let tries = 0; tries < 100; tries++) {
  const { body } = await call('GET', '/operations');
  if (JSON.stringify(body).includes(kept.body.id)) break;
}
const stopped = daxd.stop();
assert.equal((await refused).body.code, 'draining');
assert.equal(await stopped, 0, 'a drained daxd exits 0');
console.log('first boot: all as expected');
