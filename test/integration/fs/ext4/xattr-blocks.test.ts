import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { crc32cExcept, crc32cU64 } from '../../../../src/fs/ext4/checksum.js';
import { XATTR_HEADER_SIZE, XattrField } from '../../../../src/fs/ext4/layout.js';
import { Superblock } from '../../../../src/fs/ext4/superblock.js';
import { decodeXattrs, encodeXattrs, xattrBlockHash } from '../../../../src/fs/ext4/xattr-area.js';
import { MIB } from '../../../../src/lib/units.js';
import { debugfs, debugfsWrite, makeImage, withLoopMount } from '../../../support/ext4-image.js';
import { kernelSetXattr, kernelXattrs } from '../../../support/kernel-xattrs.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';
import { ownXattrs } from './own-xattrs.js';
import { finish, mountImage } from './set-up.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount'], root: true };

/** Number of the block with a file's attributes, as debugfs shows it. */
function xattrBlock(image: string, path: string): number {
  return Number(/File ACL: (\d+)/.exec(debugfs(image, `stat ${path}`))?.[1]);
}

t.test('a block that files share: a change takes a copy, and counts the others', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  const value = Buffer.alloc(500, 'shared');
  await withLoopMount(image, 'rw', (root) => {
    for (const name of ['one', 'two', 'three']) {
      writeFileSync(join(root, name), '');
      t.equal(kernelSetXattr(join(root, name), 'user.same', value), 'ok');
    }
  });
  const before = xattrBlock(image, '/one');
  t.not(before, 0);
  t.equal(xattrBlock(image, '/three'), before, 'the kernel shares it');

  const mounted = { ...(await mountImage(image)), image };
  const { fs } = mounted;
  await fs.setXattr(fs.lookup('two'), 'user.other', Buffer.alloc(300, 'o'));
  await fs.removeXattr(fs.lookup('three'), 'user.same');
  t.strictSame(ownXattrs(fs, 'one'), [['user.same', value.toString('base64')]]);
  t.equal(ownXattrs(fs, 'two').length, 2);
  t.strictSame(ownXattrs(fs, 'three'), []);
  await finish(t, mounted);
  t.equal(xattrBlock(image, '/one'), before);
  t.not(xattrBlock(image, '/two'), before);
  t.equal(xattrBlock(image, '/three'), 0);
});

t.test('hashes: those of a block by the kernel come out of daxd as well', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  await withLoopMount(image, 'rw', (root) => {
    writeFileSync(join(root, 'file'), '');
    for (const [name, size] of [
      ['user.abc', 700],
      ['user.ünï', 501],
      ['trusted.empty.long', 0],
      ['security.z', 402],
    ] as const) {
      t.equal(kernelSetXattr(join(root, 'file'), name, Buffer.alloc(size, name)), 'ok');
    }
  });
  const at = xattrBlock(image, '/file') * 4096;
  const block = readFileSync(image).subarray(at, at + 4096);
  const place = { first: XATTR_HEADER_SIZE, origin: 0 };
  const xattrs = decodeXattrs(block, place, 'the block');
  t.ok(xattrs.length >= 3);
  const copy = Buffer.from(block);
  const hashes = encodeXattrs(copy, place, xattrs, { isHashed: true });
  t.equal(xattrBlockHash(hashes), block.readUInt32LE(XattrField.Hash));
  // The values may lie elsewhere; the first entry is the same one.
  const at12 = XATTR_HEADER_SIZE + 12;
  t.equal(copy.readUInt32LE(at12), block.readUInt32LE(at12), 'of the first entry');
});

t.test('access control lists: read as they lie, and a chmod changes them', async (t) => {
  if (!requires(t, JUDGES)) return;
  const directory = scratchDirectory(t);
  const theirs = join(directory, 'theirs');
  const ours = join(directory, 'ours');
  makeImage(theirs, 32 * MIB);
  const list = aclOf([1, 6, -1], [2, 7, 7], [4, 4, -1], [16, 7, -1], [32, 0, -1]);
  await withLoopMount(theirs, 'rw,acl', (root) => {
    for (const name of ['with', 'plain']) writeFileSync(join(root, name), '');
    t.equal(kernelSetXattr(join(root, 'with'), 'system.posix_acl_access', list), 'ok');
    t.equal(kernelSetXattr(join(root, 'with'), 'security.capability', capability()), 'ok');
  });
  copyFileSync(theirs, ours);
  const wanted = await withLoopMount(theirs, 'rw,acl', (root) => {
    for (const name of ['with', 'plain']) {
      chmodSync(join(root, name), 0o6751);
      chownSync(join(root, name), 70_000, 80_000);
    }
    return seen(root);
  });

  const mounted = { ...(await mountImage(ours)), image: ours };
  const { fs } = mounted;
  const raw = fs.getXattr(fs.lookup('with'), 'system.posix_acl_access');
  t.equal(raw.readUInt32LE(0), 1, 'the version on the media');
  for (const name of ['with', 'plain']) {
    await fs.setAttributes(fs.lookup(name), { mode: 0o6751 });
    await fs.setAttributes(fs.lookup(name), { uid: 70_000, gid: 80_000 });
  }
  await finish(t, mounted);
  t.strictSame(await withLoopMount(ours, 'rw,acl', seen), wanted);
});

t.test('access control lists: new files and directories inherit as in Linux', async (t) => {
  if (!requires(t, JUDGES)) return;
  const directory = scratchDirectory(t);
  const theirs = join(directory, 'theirs');
  const ours = join(directory, 'ours');
  makeImage(theirs, 32 * MIB);
  const lists = {
    full: aclOf([1, 7, -1], [2, 5, 9], [4, 6, -1], [8, 7, 10], [16, 5, -1], [32, 6, -1]),
    plain: aclOf([1, 6, -1], [4, 4, -1], [32, 7, -1]),
  };
  await withLoopMount(theirs, 'rw,acl', (root) => {
    for (const [name, list] of Object.entries(lists)) {
      mkdirSync(join(root, name));
      t.equal(kernelSetXattr(join(root, name), 'system.posix_acl_default', list), 'ok');
    }
  });
  copyFileSync(theirs, ours);
  const paths = ['full', 'plain'].flatMap((name) => [
    `${name}/file`,
    `${name}/dir`,
    `${name}/dir/in`,
  ]);
  const seenAll = (root: string): unknown[] =>
    paths.map((path) => [statSync(join(root, path)).mode, kernelXattrs(join(root, path))]);
  const wanted = await withLoopMount(theirs, 'rw,acl', (root) => {
    for (const path of paths) {
      if (path.endsWith('dir')) mkdirSync(join(root, path), { mode: 0o755 });
      else writeFileSync(join(root, path), '', { mode: 0o644 });
    }
    return seenAll(root);
  });
  const mounted = { ...(await mountImage(ours)), image: ours };
  for (const path of paths) {
    if (path.endsWith('dir')) await mounted.fs.mkdir(path);
    else await mounted.fs.create(path);
  }
  await mounted.fs.symlink('full/link', 'file');
  t.strictSame(ownXattrs(mounted.fs, 'full/link'), []);
  await finish(t, mounted);
  t.strictSame(await withLoopMount(ours, 'rw,acl', seenAll), wanted);
});

/** A list as setxattr(2) takes it: version 2, then tag, permissions and id of each entry. */
function aclOf(...entries: readonly (readonly [number, number, number])[]): Buffer {
  const list = Buffer.alloc(4 + 8 * entries.length);
  list.writeUInt32LE(2, 0);
  for (const [i, [tag, permissions, id]] of entries.entries()) {
    list.writeUInt16LE(tag, 4 + 8 * i);
    list.writeUInt16LE(permissions, 6 + 8 * i);
    list.writeInt32LE(id, 8 + 8 * i);
  }
  return list;
}

/** Mode, owner and attributes of both files. */
function seen(root: string): unknown[] {
  return ['with', 'plain'].map((name) => {
    const { mode, uid, gid } = statSync(join(root, name));
    return [name, mode, uid, gid, kernelXattrs(join(root, name))];
  });
}

/** A valid value of security.capability: version 2, no inheritable ones, one permitted. */
function capability(): Buffer {
  const value = Buffer.alloc(20);
  value.writeUInt32LE(0x02000001, 0);
  value.writeUInt32LE(1, 4);
  return value;
}

t.test('attributes that debugfs wrote are read; kinds that are not known stay', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  await withLoopMount(image, 'rw', (root) => {
    writeFileSync(join(root, 'file'), '');
  });
  debugfsWrite(image, ['ea_set /file user.a written', 'ea_set /file gnu.translator x']);
  const mounted = { ...(await mountImage(image)), image };
  const { fs } = mounted;
  t.strictSame(ownXattrs(fs, 'file'), [['user.a', Buffer.from('written').toString('base64')]]);
  await fs.setXattr(fs.lookup('file'), 'user.b', Buffer.from('b'));
  await fs.removeXattr(fs.lookup('file'), 'user.a');
  await finish(t, mounted);
  t.match(debugfs(image, 'ea_list /file'), /gnu\.translator/);
});

t.test('a damaged block: EBADMSG or EUCLEAN names it, and nothing changes', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB);
  await withLoopMount(image, 'rw', (root) => {
    writeFileSync(join(root, 'file'), '');
    t.equal(kernelSetXattr(join(root, 'file'), 'user.a', Buffer.alloc(900, 'x')), 'ok');
  });
  const clean = readFileSync(image);
  const number = xattrBlock(image, '/file');
  const seal = (block: Buffer): void => {
    const { checksumSeed } = new Superblock(clean.subarray(1024, 2048));
    const seed = crc32cU64(checksumSeed, number);
    const sum = crc32cExcept(seed, block, { offset: XattrField.Checksum, length: 4 });
    block.writeUInt32LE(sum, XattrField.Checksum);
  };
  const damages: Record<string, (block: Buffer) => void> = {
    'no magic': (block) => block.writeUInt32LE(0, XattrField.Magic),
    'two blocks': (block) => block.writeUInt32LE(2, XattrField.Blocks),
    'no references': (block) => block.writeUInt32LE(0, XattrField.RefCount),
    'a value past the end': (block) => block.writeUInt32LE(5000, XATTR_HEADER_SIZE + 8),
    'entries without an end': (block) => block.fill(1, XATTR_HEADER_SIZE),
  };
  const tryAll = async (code: string, title: string): Promise<void> => {
    const before = readFileSync(image);
    const { fs, close } = await mountImage(image);
    const inode = fs.lookup('file');
    const refusal = { code, message: /^(attributes|attribute block|checksum mismatch:) / };
    t.throws(() => fs.listXattrs(inode), refusal, title);
    t.throws(() => fs.getXattr(inode, 'user.a'), refusal, title);
    await t.rejects(fs.setXattr(inode, 'user.b', Buffer.alloc(1)), refusal, title);
    await t.rejects(fs.removeXattr(inode, 'user.a'), refusal, title);
    await t.rejects(fs.setAttributes(inode, { mode: 0o600 }), refusal, title);
    await close();
    const at = number * 4096;
    t.strictSame(
      readFileSync(image).subarray(at, at + 4096),
      before.subarray(at, at + 4096),
      `${title}: left as it is`,
    );
  };
  for (const [title, damage] of Object.entries(damages)) {
    const bytes = Buffer.from(clean);
    const block = bytes.subarray(number * 4096, (number + 1) * 4096);
    damage(block);
    seal(block);
    writeFileSync(image, bytes);
    await tryAll('EUCLEAN', title);
  }
  const flipped = Buffer.from(clean);
  flipped.writeUInt8(0x55, number * 4096 + 4000);
  writeFileSync(image, flipped);
  await tryAll('EBADMSG', 'a flipped byte');
  for (const [block, title] of [
    [1, 'the descriptors'],
    [9_999_999, 'past the end'],
  ] as const) {
    writeFileSync(image, clean);
    debugfsWrite(image, [`sif /file file_acl ${block}`]);
    await tryAll('EUCLEAN', title);
  }
});

t.test('without the feature ext_attr: it is there once daxd mounted for writing', async (t) => {
  if (!requires(t, JUDGES)) return;
  const image = join(scratchDirectory(t), 'image');
  makeImage(image, 32 * MIB, ['-O', '^ext_attr']);
  const mounted = { ...(await mountImage(image)), image };
  const { fs } = mounted;
  await fs.setXattr(await fs.create('file'), 'user.large', Buffer.alloc(900));
  const own = ownXattrs(fs, 'file');
  await finish(t, mounted);
  await withLoopMount(image, 'ro', (root) => {
    t.strictSame(kernelXattrs(join(root, 'file')), own);
  });
});
