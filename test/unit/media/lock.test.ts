import t from 'tap';

import { flockHolder } from '../../../src/media/lock.js';

const LOCKS = `\
1: FLOCK  ADVISORY  WRITE 811 fe:00:2146508 0 EOF
1: -> FLOCK  ADVISORY  WRITE 812 fe:00:2146508 0 EOF
2: POSIX  ADVISORY  READ 813 fe:00:77 128 128
3: FLOCK  ADVISORY  WRITE 0 00:2a:9 0 EOF
4: OFDLCK ADVISORY  READ -1 00:06:10 0 EOF
5: FLOCK  ADVISORY  WRITE 814 103:10000:5 0 EOF
`;

t.test('flockHolder: the process on the line of the file, not one that waits', async (t) => {
  t.equal(flockHolder(LOCKS, { major: 0xfe, minor: 0, inode: 2146508 }), 811);
  t.equal(flockHolder(LOCKS, { major: 0x103, minor: 0x10000, inode: 5 }), 814);
});

t.test('flockHolder: undefined where no process is named', async (t) => {
  const none = [
    { major: 0xfe, minor: 1, inode: 2146508 },
    { major: 0xfe, minor: 0, inode: 77 },
    { major: 0, minor: 0x2a, inode: 9 },
    { major: 0, minor: 6, inode: 10 },
  ];
  for (const file of none) t.equal(flockHolder(LOCKS, file), undefined);
  t.equal(flockHolder('', { major: 0xfe, minor: 0, inode: 2146508 }), undefined);
});
