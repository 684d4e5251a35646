import t from 'tap';

import { pathFromTarget, pathFromText } from '../../../src/http/file-path.js';

const FILES = '/v1/partitions/pmem0p1/files';

t.test('pathFromTarget: decodes part by part', async (t) => {
  t.equal(pathFromTarget(FILES), '');
  t.equal(pathFromTarget(`${FILES}/`), '');
  t.equal(pathFromTarget(`${FILES}/a/b%20c?limit=1`), 'a/b c');
  t.equal(pathFromTarget(`${FILES}/%C3%A4%3F%23`), 'ä?#');
  t.equal(pathFromTarget(`${FILES}/...`), '...');
});

t.test('pathFromTarget: refuses dots, empty parts, slashes, NUL and bad UTF-8', async (t) => {
  for (const path of [
    '.',
    '..',
    '%2e',
    '%2E%2e',
    'a/../b',
    'a/.',
    'a//b',
    '/a',
    'a/',
    '%2F',
    'a%2Fb',
  ]) {
    t.throws(() => pathFromTarget(`${FILES}/${path}`), { code: 'EINVAL' }, path);
  }
  for (const path of ['%00', 'a%00b', '%FF', '%C3%28', '%', '%zz']) {
    t.throws(() => pathFromTarget(`${FILES}/${path}`), { code: 'EINVAL' }, path);
  }
});

t.test('pathFromText: takes one leading slash, refuses what a target refuses', async (t) => {
  t.equal(pathFromText('a/b'), 'a/b');
  t.equal(pathFromText('/a/b'), 'a/b');
  t.equal(pathFromText('/'), '');
  for (const path of ['.', '..', '//', '//a', 'a//b', 'a/', 'a/../b', 'a\0', '\udc00']) {
    t.throws(() => pathFromText(path), { code: 'EINVAL' }, JSON.stringify(path));
  }
});

t.test('pathFromText: as many bytes as PATH_MAX leaves, and no more', async (t) => {
  t.equal(pathFromText('ä/'.repeat(1364) + 'aaa').length, 2731);
  t.throws(() => pathFromText('ä/'.repeat(1364) + 'aaaa'), {
    code: 'ENAMETOOLONG',
    message: 'the path has 4096 bytes: give one of at most 4095',
  });
});
