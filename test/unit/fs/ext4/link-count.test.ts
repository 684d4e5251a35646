import t from 'tap';

import { FeatureRoCompat } from '../../../../src/fs/ext4/layout.js';
import {
  addSubdirectory,
  dropSubdirectory,
  LINKS_MAX,
} from '../../../../src/fs/ext4/link-count.js';

const WITH_DIR_NLINK = { roCompat: FeatureRoCompat.DirNlink };
const WITHOUT = { roCompat: 0 };

t.test('addSubdirectory: counts up to 65000, then 1 for good', async (t) => {
  const parent = { number: 12, linksCount: LINKS_MAX - 1 };
  addSubdirectory(WITH_DIR_NLINK, parent);
  t.equal(parent.linksCount, LINKS_MAX);
  addSubdirectory(WITH_DIR_NLINK, parent);
  t.equal(parent.linksCount, 1);
  addSubdirectory(WITH_DIR_NLINK, parent);
  t.equal(parent.linksCount, 1);
  dropSubdirectory(parent);
  t.equal(parent.linksCount, 1, 'it stays uncounted');
});

t.test('addSubdirectory: EMLINK past 65000 without dir_nlink', async (t) => {
  const parent = { number: 12, linksCount: LINKS_MAX };
  t.throws(() => addSubdirectory(WITHOUT, parent), { code: 'EMLINK', name: 'DaxdError' });
  t.equal(parent.linksCount, LINKS_MAX);
});

t.test('dropSubdirectory: never below "." and the name', async (t) => {
  const parent = { number: 12, linksCount: 3 };
  dropSubdirectory(parent);
  t.equal(parent.linksCount, 2);
  dropSubdirectory(parent);
  t.equal(parent.linksCount, 2);
});
