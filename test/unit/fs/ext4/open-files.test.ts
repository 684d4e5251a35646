import t from 'tap';

import { OpenFiles } from '../../../../src/fs/ext4/open-files.js';
import { InvariantError } from '../../../../src/lib/assert.js';

t.test('opened, closed: the last handle of a file without a name says so', async (t) => {
  const files = new OpenFiles();
  t.notOk(files.isOpen(12));
  files.opened(12);
  files.opened(12);
  t.notOk(files.closed(12), 'another handle is left');
  t.ok(files.isOpen(12));
  t.notOk(files.closed(12), 'it has a name');
  t.notOk(files.isOpen(12));
  files.opened(12);
  files.nameGone(12);
  t.ok(files.closed(12));
  t.throws(() => files.closed(12), InvariantError);
});

t.test('nameGone, evicting, evicted: reachable by number until the eviction', async (t) => {
  const files = new OpenFiles();
  t.notOk(files.isReachable(12), 'what has links needs no leave');
  t.throws(() => {
    files.evicting(12);
  }, InvariantError);
  files.nameGone(12);
  t.ok(files.isReachable(12));
  t.strictSame(files.waiting, [12]);
  t.throws(() => {
    files.nameGone(12);
  }, InvariantError);
  files.evicting(12);
  t.notOk(files.isReachable(12));
  t.strictSame(files.waiting, []);
  t.ok(files.isNameless(12), 'its number is not free yet');
  files.evicted(12);
  t.notOk(files.isNameless(12));
  files.evicted(13);
  files.nameGone(12);
  t.ok(files.isReachable(12), 'the inode is another file by now');
});
