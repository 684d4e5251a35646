import { truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { MIB, PAGE_SIZE } from '../../../../src/lib/units.js';
import { debugfs, debugfsWrite, withLoopMount } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { mountImage } from './set-up.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';
import {
  contentOf,
  NAME,
  ownersOf,
  pageAt,
  quarantineInode,
  withPages,
} from './quarantine-set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs'] };
const P = PAGE_SIZE;

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(bytes);
}

function namesOf(fs: Ext4): string[] {
  return [...fs.readdir(fs.lookup(''))].map(({ name }) => name.toString()).toSorted();
}

t.test('the name: no path leads there, and none can be made, moved or removed', async (t) => {
  if (!requires(t, JUDGES)) return;
  const open = await withPages(t, 4);
  const { fs, inode, pin, unpin, image } = open;
  await fs.symlink('link', NAME);
  await fs.mkdir('d');
  const gone = { name: 'DaxdError', code: 'ENOENT' };
  const refused = { name: 'DaxdError', code: 'EPERM' };
  for (const state of ['before it is there', 'when it is there']) {
    await t.test(state, async (t) => {
      t.throws(() => fs.lookup(NAME), gone);
      t.throws(() => fs.lookup(NAME, { follow: false }), gone);
      t.throws(() => fs.fileAt(NAME), gone);
      t.throws(() => fs.lookup('link'), gone);
      t.throws(() => fs.lookup(`${NAME}/x`), gone);
      await t.rejects(fs.create(NAME), refused);
      await t.rejects(fs.mkdir(NAME), refused);
      await t.rejects(fs.symlink(NAME, 'a'), refused);
      await t.rejects(fs.mknod(NAME, { type: 'fifo', mode: 0o600 }), refused);
      await t.rejects(fs.link('a', NAME), refused);
      await t.rejects(fs.link(NAME, 'b'), refused);
      await t.rejects(fs.rename('a', NAME), refused);
      await t.rejects(fs.rename(NAME, 'b'), refused);
      await t.rejects(fs.unlink(NAME), refused);
      await t.rejects(fs.replace(NAME, once(Buffer.from('x'))), refused);
      await t.rejects(fs.replace('link', once(Buffer.from('x'))), refused, 'nor by a symlink');
      t.strictSame(namesOf(fs), ['a', 'd', 'link', 'lost+found']);
    });
    const at = pageAt(open, inode, 1);
    pin(at, P);
    await fs.punchHole(inode, P, P, { defer: true });
    unpin(at, P);
    await fs.write(inode, P, Buffer.alloc(P, 1));
  }
  const own = quarantineInode(image);
  t.throws(() => fs.stat(own), { code: 'EUCLEAN' }, 'nor does its number');
  await t.rejects(fs.truncate(own, 0), { name: 'DaxdError' });
  await t.rejects(fs.write(own, 0, Buffer.from('x')), { name: 'DaxdError' });

  t.type(await fs.create(`d/${NAME}`), 'number', 'elsewhere it is a name like any other');
  await fs.unlink(`d/${NAME}`);
  await closeClean(t, open);
});

for (const kind of ['directory', 'file', 'almost'] as const) {
  t.test(`a foreign ${kind} of that name is left alone, and nothing defers`, async (t) => {
    if (!requires(t, JUDGES)) return;
    const image = newImage(t);
    const open = await openImage(image);
    const inode = await open.fs.create('a');
    await open.fs.write(inode, 0, contentOf(4));
    const foreign = await open.fs.create('foreign');
    await open.fs.write(foreign, 0, Buffer.from('precious'));
    await open.close();
    if (kind === 'directory') debugfsWrite(image, [`mkdir ${NAME}`]);
    else debugfsWrite(image, [`ln foreign ${NAME}`, 'unlink foreign']);
    // All but what it holds is as daxd's own.
    const marks = ['mode 0100000', 'flags 0x80010', 'size 0'];
    if (kind === 'almost') {
      debugfsWrite(
        image,
        marks.map((mark) => `set_inode_field <${foreign}> ${mark}`),
      );
    }

    const { fs, pin, unpin, close } = await openImage(image);
    const there = fs.lookup(NAME);
    t.match(fs.quarantine.refusal, /rename it/);
    t.ok(namesOf(fs).includes(NAME));
    const at = fs.extents(inode, P, 2 * P)[0]?.mediaOffset ?? 0;
    pin(at, P);
    await t.rejects(fs.truncate(inode, 0, { defer: true }), { code: 'EEXIST' });
    t.equal(fs.stat(inode).size, 4 * P, 'the file is unchanged');
    unpin(at, P);
    if (kind === 'file') {
      const bytes = Buffer.alloc(8);
      fs.read(there, 0, bytes);
      t.equal(bytes.toString(), 'precious');
      await fs.rename(NAME, 'kept');
    }
    await close();
    t.match(debugfs(image, `stat ${kind === 'file' ? 'kept' : NAME}`), /Inode: \d+/);
    if (kind !== 'file') return;
    const again = await mountImage(image);
    t.equal(again.fs.quarantine.refusal, undefined, 'once it is renamed, and mounted again');
    await again.close();
  });
}

t.test('the kernel: it fills all that is free, and no quarantined block', async (t) => {
  if (!requires(t, { commands: [...JUDGES.commands, 'mount', 'umount'], root: true })) return;
  const { image, ...open } = await withPages(t, 8);
  const at = pageAt({ image, ...open }, open.inode, 2);
  open.pin(at, 3 * P);
  await open.fs.truncate(open.inode, 0, { defer: true });
  open.unpin(at, 3 * P);
  await open.close();
  await withLoopMount(image, 'rw', (directory) => {
    t.throws(() => unlinkSync(join(directory, NAME)), { code: 'EPERM' }, 'it is immutable');
    t.throws(() => truncateSync(join(directory, NAME), 0), { code: 'EPERM' });
    t.throws(() => writeFileSync(join(directory, 'all'), Buffer.alloc(64 * MIB)), {
      code: 'ENOSPC',
    });
  });
  t.strictSame(ownersOf(image, [at / P, at / P + 2]), Array(2).fill(quarantineInode(image)));
  await withLoopMount(image, 'rw', (directory) => {
    unlinkSync(join(directory, 'all'));
  });
  const again = await openImage(image);
  t.strictSame(again.fs.quarantine.extents(), [{ mediaOffset: at, length: 3 * P }]);
  await again.fs.quarantine.release(at, 3 * P);
  await closeClean(t, again);
});
