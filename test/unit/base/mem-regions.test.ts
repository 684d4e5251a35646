import t from 'tap';

import { Device } from '../../../src/base/device.js';
import { devmRequestMemRegion, MemRegions } from '../../../src/base/mem-regions.js';
import { InvariantError } from '../../../src/lib/assert.js';

/** Regions of which `pmem0` claims [4096, 8192). */
function setUp(): MemRegions {
  const regions = new MemRegions();
  regions.request({ start: 4096, length: 4096 }, 'pmem0');
  return regions;
}

t.test('request: ranges that only touch do not overlap', async (t) => {
  const regions = setUp();
  regions.request({ start: 0, length: 4096 }, 'below');
  regions.request({ start: 8192, length: 1 }, 'above');
  t.pass('both were granted');
});

t.test('request: any shared byte is EBUSY, naming who has it', async (t) => {
  const overlapping = [
    { start: 4096, length: 4096 },
    { start: 0, length: 4097 },
    { start: 8191, length: 1 },
    { start: 0, length: 16384 },
    { start: 5000, length: 10 },
  ];
  for (const range of overlapping) {
    const regions = setUp();
    t.throws(
      () => {
        regions.request(range, 'pmem1');
      },
      { code: 'EBUSY', message: /pmem1: .*\[4096, 8192\), which pmem0 claims/ },
    );
    t.throws(
      () => {
        regions.release(range.start === 4096 ? { start: 4096, length: 1 } : range);
      },
      InvariantError,
      'the refused request claimed nothing',
    );
  }
});

t.test('request: an empty range breaks an invariant', async (t) => {
  t.throws(() => {
    setUp().request({ start: 0, length: 0 }, 'pmem1');
  }, InvariantError);
});

t.test('release: only what was requested, and once', async (t) => {
  const regions = setUp();
  t.throws(() => {
    regions.release({ start: 4096, length: 1024 });
  }, InvariantError);
  regions.release({ start: 4096, length: 4096 });
  t.throws(() => {
    regions.release({ start: 4096, length: 4096 });
  }, InvariantError);
  regions.request({ start: 4096, length: 4096 }, 'pmem1');
});

t.test('devmRequestMemRegion: the range is free again when the device detaches', async (t) => {
  const regions = new MemRegions();
  const range = { start: 0, length: 4096 };
  const device = new Device('pmem0');
  await devmRequestMemRegion(device, regions, range);
  await t.rejects(devmRequestMemRegion(new Device('pmem1'), regions, range), {
    name: 'DaxdError',
    code: 'EBUSY',
  });
  await device.devres.releaseAll();
  t.strictSame(device.devres.releaseLog, ['mem region']);
  await devmRequestMemRegion(new Device('pmem1'), regions, range);
});
