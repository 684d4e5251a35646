import t from 'tap';

import { FeatureRoCompat, InodeFlag } from '../../../../src/fs/ext4/layout.js';
import {
  addSubdirectory,
  dropSubdirectory,
  LINKS_MAX,
} from '../../../../src/fs/ext4/link-count.js';

const WITH_DIR_NLINK = { roCompat: FeatureRoCompat.DirNlink };
const WITHOUT = { roCompat: 0 };

t.test('addSubdirectory: counts up to 65000, then 1 for good', async (t) => {
  const parent = { number: 12, linksCount: LINKS_MAX - 1, flags: InodeFlag.Index };
  addSubdirectory(WITH_DIR_NLINK, parent);
  t.equal(parent.linksCount, LINKS_MAX);
  addSubdirectory(WITH_DIR_NLINK, parent);
  t.equal(parent.linksCount, 1);
  addSubdirectory(WITH_DIR_NLINK, parent);
  t.equal(parent.linksCount, 1);
  dropSubdirectory(parent);
  t.equal(parent.linksCount, 1, 'it stays uncounted');
});

t.test('addSubdirectory: EMLINK past 65000 without dir_nlink or an index', async (t) => {
  const full = { number: 12, linksCount: LINKS_MAX, flags: InodeFlag.Index };
  const linear = { ...full, flags: 0 };
  const refused = { code: 'EMLINK', message: /directory inode 12 has 65000 links/ };
  t.throws(() => {
    addSubdirectory(WITHOUT, full);
  }, refused);
  t.throws(() => {
    addSubdirectory(WITH_DIR_NLINK, linear);
  }, refused);
  t.strictSame([full.linksCount, linear.linksCount], [LINKS_MAX, LINKS_MAX]);
});

t.test('dropSubdirectory: never below "." and the name', async (t) => {
  const parent = { number: 12, linksCount: 3, flags: 0 };
  dropSubdirectory(parent);
  t.equal(parent.linksCount, 2);
  dropSubdirectory(parent);
  t.equal(parent.linksCount, 2);
});
