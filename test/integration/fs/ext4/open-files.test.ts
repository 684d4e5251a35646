import { Readable } from 'node:stream';

import t from 'tap';

import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { requires } from '../../../support/requires.js';
import { contentOf, mediaOf, PAGES, until, untilFreed, withFiles } from './orphan-set-up.js';
import { readAll } from './set-up.js';
import { closeClean } from './volume-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck'] };
const gone = { name: 'DaxdError', code: 'ENOENT' };

t.test('open: a removed file is read, written, leased and cut by its number', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withFiles(t);
  const { fs, a, volume } = open;
  const free = volume.free.blocks;
  const first = fs.open(a);
  const second = fs.open(a);
  await fs.unlink('a');
  await fs.write(a, 30 * PAGE_SIZE, Buffer.from('more'));
  t.equal((await fs.prepareDma(a, 25 * PAGE_SIZE, PAGE_SIZE, 'write')).length, 1);
  t.equal((await fs.truncate(a, 5 * PAGE_SIZE)).freedBytes, 17 * PAGE_SIZE);
  t.ok((await readAll(fs, a)).equals(contentOf('a').subarray(0, 5 * PAGE_SIZE)));
  await first.close();
  await first.close();
  t.equal(fs.stat(a).nlink, 0, 'the second handle keeps it');
  const third = fs.open(a);
  await second.close();
  await third.close();
  t.throws(() => fs.stat(a), gone);
  t.throws(() => fs.open(a), gone);
  t.equal(volume.free.blocks, free + PAGES);
  t.throws(() => fs.open(fs.lookup('')), { name: 'DaxdError', code: 'EISDIR' });
  await closeClean(t, open);
});

t.test('open: closed while a page is pinned, the blocks wait for the page', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withFiles(t);
  const { fs, a, layouts, pin, unpin } = open;
  const file = fs.open(a);
  const page = mediaOf(open, a);
  await fs.unlink('a');
  t.equal(layouts.size, 0, 'an open file is not waited for');
  pin(page, PAGE_SIZE);
  await file.close();
  t.match([...layouts.pending], [{ op: 'unlink', inode: a, path: 'a' }]);
  const again = fs.open(a);
  unpin(page, PAGE_SIZE);
  t.ok(await until(() => layouts.size === 0));
  t.equal(fs.stat(a).nlink, 0, 'somebody opened it meanwhile');
  await again.close();
  t.throws(() => fs.stat(a), gone);
  await closeClean(t, open);
});

t.test('readStream: a file that is removed meanwhile is read to its end', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withFiles(t);
  const { fs, a, b } = open;
  const large = Buffer.alloc(MIB, 'large');
  await fs.write(a, 0, large);
  const stream = fs.readStream(a, 0, MIB);
  await fs.unlink('a');
  const read: Buffer[] = [];
  for await (const piece of stream) read.push(piece);
  t.ok(Buffer.concat(read).equals(large));
  t.throws(() => fs.stat(a), gone, 'the end of the stream was the last close');

  const readable = Readable.from(fs.readStream(b, 0, MIB));
  await fs.rename('b', 'c');
  await fs.unlink('c');
  t.equal(fs.stat(b).nlink, 0);
  readable.destroy();
  t.ok(await untilFreed(fs, b), 'a reader that never began lets go');
  await closeClean(t, open);
});
