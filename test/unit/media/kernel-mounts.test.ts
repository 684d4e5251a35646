import t from 'tap';

import { mountedForWriting } from '../../../src/media/kernel-mounts.js';

t.test('mountedForWriting: devices and mountpoints, whatever fields come between', async (t) => {
  const mountinfo = [
    '36 35 7:0 / /mnt/a\\040b rw,noatime shared:1 master:2 - ext4 /dev/loop0 rw,errors=continue',
    '37 35 7:1 / /mnt/ro rw,noatime - ext4 /dev/loop1 ro',
    '38 35 7:2 /below /mnt/bind ro,relatime - ext4 /dev/loop2 rw',
    '39 35 0:20 / /proc rw - proc proc rw',
    '',
    'torn',
  ].join('\n');
  t.strictSame(mountedForWriting(mountinfo), [
    { device: '7:0', mountpoint: '/mnt/a\\040b' },
    { device: '7:2', mountpoint: '/mnt/bind' },
    { device: '0:20', mountpoint: '/proc' },
  ]);
});
