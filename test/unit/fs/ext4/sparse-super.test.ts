import t from 'tap';

import { isSparseSuperGroup } from '../../../../src/fs/ext4/sparse-super.js';

t.test('isSparseSuperGroup: 0, 1 and the powers of 3, 5 and 7', async (t) => {
  const withCopy = Array.from({ length: 130 }, (_, group) => group).filter(isSparseSuperGroup);
  t.strictSame(withCopy, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
});
