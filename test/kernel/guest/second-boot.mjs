// Second boot: what the first one wrote is there, and the filesystem was left clean.
import assert from 'node:assert/strict';

import { call, pattern, startDaxd } from './daemon.mjs';

const daxd = await startDaxd('--backing', '/dev/dax0.0');
const { body: listing } = await call('GET', '/partitions');
const [partition] = listing.partitions ?? listing;
assert.equal(partition.dax.supported, true);
assert.equal(partition.filesystem.mounted, true);
assert.equal(partition.filesystem.read_only, false, 'it was unmounted cleanly');

const files = '/partitions/pmem0p1/files';
const kept = await call('GET', `${files}/kept.bin`);
assert.ok(kept.bytes.equals(pattern(3_000_000, 7)), 'kept.bin survived the power cycle');
const cut = await call('GET', `${files}/cut.bin`);
assert.ok(cut.bytes.equals(pattern(65_536, 9).subarray(0, 100)), 'cut.bin has its first bytes');

assert.equal(await daxd.stop(), 0);
console.log('second boot: all as expected');
