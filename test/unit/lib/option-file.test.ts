import t from 'tap';

import { readOptionFile, unreadable } from '../../../src/lib/option-file.js';

t.test('readOptionFile: what cannot be read has the code that the system gave it', async (t) => {
  t.match(await readOptionFile('--x package.json', 'package.json'), /"name": "daxd"/);
  const absent = { code: 'ENOENT', message: '--x /nowhere is not there: name one that is' };
  await t.rejects(readOptionFile('--x /nowhere', '/nowhere'), absent);
  const directory = { code: 'EISDIR', message: /^--x src cannot be read: EISDIR/ };
  await t.rejects(readOptionFile('--x src', 'src'), directory);
});

t.test('unreadable: EACCES says what to do, and what daxd does not report is EIO', async (t) => {
  const denied = unreadable('--x a', Object.assign(new Error('denied'), { code: 'EACCES' }));
  t.match(denied, { code: 'EACCES', message: /^--x a may not be read by .*: chown or chmod it$/ });
  const many = unreadable('--x a', Object.assign(new Error('too many'), { code: 'EMFILE' }));
  t.match(many, { code: 'EIO', message: '--x a cannot be read: too many' });
});
