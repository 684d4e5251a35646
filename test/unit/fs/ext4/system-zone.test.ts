import t from 'tap';

import { SystemZone } from '../../../../src/fs/ext4/system-zone.js';

t.test('overlaps, within: neighbours joined, borders exact', async (t) => {
  const zone = new SystemZone();
  zone.add(20, 5, 'table');
  zone.add(0, 3, 'superblock');
  zone.add(3, 1, 'bitmap');
  zone.add(50, 0, 'nothing');
  zone.seal();
  t.ok(zone.overlaps(0, 1));
  t.ok(zone.overlaps(3, 1));
  t.notOk(zone.overlaps(4, 16));
  t.ok(zone.overlaps(4, 17));
  t.ok(zone.overlaps(24, 100));
  t.notOk(zone.overlaps(25, 100));
  t.strictSame(
    [...zone.within(2, 20)],
    [
      { start: 2, count: 2 },
      { start: 20, count: 2 },
    ],
  );
  t.strictSame([...zone.within(25, 10)], []);
});

t.test('seal: tables over each other are refused by name', async (t) => {
  const zone = new SystemZone();
  zone.add(20, 5, 'inode table of group 0');
  zone.add(24, 1, 'block bitmap of group 1');
  t.throws(
    () => {
      zone.seal();
    },
    { name: 'DaxdError', code: 'EUCLEAN', message: /bitmap of group 1 .*table of group 0/ },
  );
});
