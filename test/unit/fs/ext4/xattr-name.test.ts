import t from 'tap';

import {
  assertSettable,
  parseXattrName,
  showXattrName,
} from '../../../../src/fs/ext4/xattr-name.js';

t.test('parseXattrName: names come back as they were', async (t) => {
  for (const name of [
    'user.a',
    'user.a.b',
    'trusted.ü',
    'security.selinux',
    'system.posix_acl_access',
    'system.posix_acl_default',
    `user.${'n'.repeat(250)}`,
  ]) {
    t.equal(showXattrName(parseXattrName(name)), name);
  }
  t.strictSame(parseXattrName('trusted.x'), { index: 4, name: Buffer.from('x') });
});

t.test('parseXattrName: what Linux refuses', async (t) => {
  for (const [name, code] of [
    ['', 'ERANGE'],
    [`user.${'n'.repeat(251)}`, 'ERANGE'],
    [`user.${'ü'.repeat(126)}`, 'ERANGE'],
    ['user.', 'EINVAL'],
    ['user', 'EOPNOTSUPP'],
    ['USER.a', 'EOPNOTSUPP'],
    ['system.posix_acl_access.x', 'EOPNOTSUPP'],
    ['user.a\0', 'EINVAL'],
    ['user.\udc00', 'EINVAL'],
  ] as const) {
    t.throws(() => parseXattrName(name), { code, name: 'DaxdError' }, JSON.stringify(name));
  }
});

t.test('showXattrName: kinds of the filesystem itself have no name', async (t) => {
  for (const index of [0, 5, 7, 8, 9, 10, 255]) {
    t.equal(showXattrName({ index, name: Buffer.from('x') }), undefined);
  }
  t.equal(showXattrName({ index: 2, name: Buffer.from('x') }), undefined);
  t.equal(showXattrName({ index: 1, name: Buffer.from([0x61, 0xff]) }), undefined);
});

t.test('assertSettable: all but access control lists', async (t) => {
  for (const name of ['user.a', 'trusted.a', 'security.a']) assertSettable(parseXattrName(name));
  const acl = parseXattrName('system.posix_acl_default');
  t.throws(
    () => {
      assertSettable(acl);
    },
    { code: 'EOPNOTSUPP' },
  );
});
