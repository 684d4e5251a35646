import t from 'tap';

import { deviceNumber } from '../../../src/media/device-number.js';

t.test('deviceNumber: splits as the kernel encodes', async (t) => {
  t.strictSame(deviceNumber(0xfe00), { major: 254, minor: 0 });
  t.strictSame(deviceNumber(0x10302), { major: 259, minor: 2 });
  t.strictSame(deviceNumber(0x10fa2c), { major: 250, minor: 300 }, 'as mknod c 250 300 gives');
  t.strictSame(deviceNumber(0x0fffff), { major: 0xfff, minor: 0xff });
  t.strictSame(deviceNumber(2 ** 44), { major: 0x1000, minor: 0 });
});
