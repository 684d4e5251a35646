import t from 'tap';

import { parsePath, walkPath } from '../../../../src/fs/ext4/path.js';
import type { PathTree } from '../../../../src/fs/ext4/path.js';

type Node = { readonly [name: string]: number } | string | null;

/**
 * A tree by inode number: an object is a directory, a string a symlink, null a file.
 * Inode 5 is a directory that contains itself.
 */
const NODES: Record<number, Node> = {
  2: {
    dir: 3,
    file: 4,
    loop: 5,
    abs: 10,
    up: 11,
    chain: 12,
    spin: 13,
    dangling: 14,
    slashed: 15,
    filed: 16,
    long: 17,
  },
  3: { file: 6, link: 7, sub: 8 },
  4: null,
  5: { again: 5 },
  6: null,
  7: '../file',
  8: { deep: 9 },
  9: null,
  10: '/dir/sub',
  11: '../../../../../dir/./file',
  12: 'dir//link',
  13: 'spin',
  14: 'dir/nothing',
  15: 'dir/',
  16: 'file/',
  17: 'x'.repeat(256),
};

const tree: PathTree = {
  root: 2,
  kind(inode) {
    const node = NODES[inode];
    if (typeof node === 'string') return 'symlink';
    return node === null || node === undefined ? 'other' : 'directory';
  },
  child(directory, name) {
    const node = NODES[directory];
    return node !== null && typeof node === 'object' ? node[name.toString()] : undefined;
  },
  target(symlink) {
    const node = NODES[symlink];
    return Buffer.from(typeof node === 'string' ? node : '');
  },
};

/** Symlinks 100, 101 and so on, each to the next; the one after the last is a file. */
function chain(length: number): PathTree {
  return {
    root: 2,
    kind(inode) {
      if (inode === 2) return 'directory';
      return inode < 100 + length ? 'symlink' : 'other';
    },
    child: (_, name) => Number(name.toString()),
    target: (inode) => Buffer.from(String(inode + 1)),
  };
}

function walk(path: string, follow = true) {
  return walkPath(tree, parsePath(path), { follow });
}

t.test('parsePath: names from the root, as UTF-8', async (t) => {
  t.strictSame(parsePath(''), []);
  t.strictSame(
    parsePath('a/ä').map((part) => part.toString('hex')),
    ['61', 'c3a4'],
  );
  t.equal(parsePath('n'.repeat(255))[0]?.length, 255);
  t.equal(parsePath('...').length, 1, 'three dots are a name');
});

t.test('parsePath: refuses what the API refuses', async (t) => {
  for (const path of ['/', '/a', 'a/', 'a//b', '.', '..', 'a/./b', 'a/../b', 'a\0b', '\ud800']) {
    t.throws(() => parsePath(path), { code: 'EINVAL', name: 'DaxdError' }, JSON.stringify(path));
  }
  t.throws(() => parsePath('n'.repeat(256)), { code: 'ENAMETOOLONG', name: 'DaxdError' });
  t.throws(() => parsePath('ä'.repeat(128)), { code: 'ENAMETOOLONG', name: 'DaxdError' });
  t.throws(() => parsePath(Array(2049).fill('a').join('/')), {
    code: 'ENAMETOOLONG',
    name: 'DaxdError',
  });
});

t.test('walkPath: directories, files, and a last name that is missing', async (t) => {
  t.equal(walk('').inode, 2);
  t.equal(walk('dir/sub/deep').inode, 9);
  t.strictSame(walk('dir/sub/deep').parents, [2, 3, 8]);
  t.match(walk('dir/nothing'), { inode: undefined, parents: [2, 3], name: Buffer.from('nothing') });
  t.throws(() => walk('nothing/x'), { code: 'ENOENT', name: 'DaxdError' });
  t.throws(() => walk('file/x'), { code: 'ENOTDIR', name: 'DaxdError' });
});

t.test('walkPath: symlinks inside the partition', async (t) => {
  t.equal(walk('dir/link').inode, 4, 'relative');
  t.equal(walk('abs/deep').inode, 9, 'absolute, from the root of the partition');
  t.strictSame(walk('abs/deep').parents, [2, 3, 8], 'the parents are the real ones');
  t.equal(walk('up').inode, 6, '".." stops at the root');
  t.equal(walk('chain').inode, 4, 'a symlink to a symlink, an empty part between');
  t.equal(walk('slashed').inode, 3, 'a trailing slash asks for a directory');
  t.throws(() => walk('filed'), { code: 'ENOTDIR', name: 'DaxdError' });
  t.match(walk('dangling'), { inode: undefined, parents: [2, 3] });
  t.throws(() => walk('spin'), { code: 'ELOOP', name: 'DaxdError' });
  t.throws(() => walk('spin/x'), { code: 'ELOOP', name: 'DaxdError' });
  t.throws(() => walk('long'), { code: 'ENAMETOOLONG', name: 'DaxdError' });
});

t.test('walkPath: without follow only the last symlink stays', async (t) => {
  t.equal(walk('dir/link', false).inode, 7);
  t.equal(walk('spin', false).inode, 13);
  t.equal(walk('abs/deep', false).inode, 9);
});

t.test('walkPath: 40 symlinks are followed, 41 are not', async (t) => {
  const parts = [Buffer.from('100')];
  t.equal(walkPath(chain(40), parts, { follow: true }).inode, 140);
  t.throws(() => walkPath(chain(41), parts, { follow: true }), {
    code: 'ELOOP',
    name: 'DaxdError',
  });
});

t.test('walkPath: a directory that contains itself ends with the path', async (t) => {
  t.equal(walk(`loop${'/again'.repeat(500)}`).inode, 5);
});

t.test('walkPath: 4096 names are looked up at most, whatever symlinks say', async (t) => {
  let lookups = 0;
  const deep: PathTree = {
    root: 2,
    kind: (inode) => (inode === 2 ? 'directory' : 'symlink'),
    child: (_, name) => {
      lookups++;
      return name.toString() === 'a' ? 2 : 3;
    },
    target: () => Buffer.from(`${'a/'.repeat(2046)}s`),
  };
  const loops = { code: 'ELOOP', message: 'over 4096 names on the way, through symlinks' };
  t.throws(() => walkPath(deep, parsePath('s'), { follow: true }), loops);
  t.equal(lookups, 4096);
});
