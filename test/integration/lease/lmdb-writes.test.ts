import { join } from 'node:path';

import { open } from 'lmdb';
import t from 'tap';

import { LmdbWrites } from '../../../src/lease/lmdb/lmdb-writes.js';
import { SUMMED } from '../../../src/lease/lmdb/summed-bytes.js';
import type { SummedValue } from '../../../src/lease/lmdb/summed-bytes.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

t.test('a key is removed where it stands, and nowhere else', async (t) => {
  const path = join(scratchDirectory(t), 'file.mdb');
  const root = open<SummedValue, string>({ path, noSubdir: true, ...SUMMED });
  await root.put('old', Buffer.from('1'));
  const removals = t.capture(root, 'remove', root.remove.bind(root));
  await root.batch(() => {
    const writes = new LmdbWrites(root);
    writes.remove('never');
    writes.put('new', Buffer.from('2'));
    for (const key of ['old', 'new', 'old', 'new']) writes.remove(key);
    writes.put('old', Buffer.from('3'));
    writes.put('last', Buffer.from('4'));
  });
  t.strictSame(
    removals().map(({ args }) => args[0]),
    ['old', 'new'],
  );
  t.strictSame([...root.getKeys()], ['last', 'old']);
  t.strictSame(root.get('old'), Buffer.from('3'));
  await root.close();
});
