import { symlinkSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import { readDeviceDaxGeometry, type DeviceDaxNode } from '../../../src/media/device-dax-sysfs.js';

/** The entry of node 252:7 in a sysfs of its own, with these attributes. */
function setUp(t: Test, attributes: Record<string, string>, subsystem = 'bus/dax'): DeviceDaxNode {
  const sysfsRoot = t.testdir({ dev: { char: { '252:7': attributes } } });
  symlinkSync(`../../../${subsystem}`, join(sysfsRoot, 'dev/char/252:7/subsystem'));
  return { path: '/dev/dax0.0', sysfsRoot, major: 252, minor: 7 };
}

t.test('readDeviceDaxGeometry: decimal bytes of size and align', async (t) => {
  const node = setUp(t, { size: '264241152\n', align: '2097152\n' });
  t.strictSame(await readDeviceDaxGeometry(node), { sizeBytes: 264241152, alignBytes: 2097152 });
});

t.test('readDeviceDaxGeometry: a 16 TiB device of 1 GiB pages', async (t) => {
  const node = setUp(t, { size: `${2 ** 44}\n`, align: `${2 ** 30}\n` });
  t.strictSame(await readDeviceDaxGeometry(node), { sizeBytes: 2 ** 44, alignBytes: 2 ** 30 });
});

t.test('readDeviceDaxGeometry: a node of another driver is ENODEV, by name', async (t) => {
  const node = setUp(t, { size: '264241152\n', align: '2097152\n' }, 'class/mem');
  await t.rejects(readDeviceDaxGeometry(node), {
    name: 'DaxdError',
    code: 'ENODEV',
    message: /dax0\.0 \(252:7\) belongs to subsystem "mem"/,
  });
});

t.test('readDeviceDaxGeometry: a node that sysfs does not know is ENODEV', async (t) => {
  const node = { ...setUp(t, {}), minor: 8 };
  await t.rejects(readDeviceDaxGeometry(node), {
    name: 'DaxdError',
    code: 'ENODEV',
    message: /252:8/,
  });
});

t.test('readDeviceDaxGeometry: a geometry that cannot be mapped is EINVAL', async (t) => {
  const cases: [string, string, RegExp][] = [
    ['0', '2097152', /size 0/],
    ['2097152', '512', /alignment 512/],
    ['2097152', '3145728', /alignment 3145728/],
    ['4294967296', '2147483648', /alignment 2147483648/],
    ['3145728', '2097152', /not a multiple/],
    ['0x200000', '2097152', /"0x200000"/],
    ['', '2097152', /""/],
  ];
  for (const [size, align, message] of cases) {
    t.test(`size "${size}" align "${align}"`, async (t) => {
      const node = setUp(t, { size, align });
      const expected = { name: 'DaxdError', code: 'EINVAL', message };
      await t.rejects(readDeviceDaxGeometry(node), expected);
    });
  }
});

t.test('readDeviceDaxGeometry: a missing attribute is named', async (t) => {
  const node = setUp(t, { size: '2097152' });
  await t.rejects(readDeviceDaxGeometry(node), {
    name: 'DaxdError',
    code: 'ENOENT',
    message: /252:7\/align/,
  });
});
