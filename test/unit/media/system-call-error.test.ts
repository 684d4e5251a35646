import { constants } from 'node:os';

import t from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import { fileSystemError, systemCallError } from '../../../src/media/system-call-error.js';

t.test('systemCallError: keeps an errno that daxd reports, and names the others', async (t) => {
  t.match(systemCallError('mmap', 'a window', constants.errno.ENOMEM), {
    code: 'ENOMEM',
    message: 'mmap of a window failed with ENOMEM',
  });
  t.match(systemCallError('flock', 'a file', constants.errno.ENOLCK), {
    code: 'EIO',
    message: 'flock of a file failed with ENOLCK',
  });
  t.match(systemCallError('flock', 'a file', constants.errno.EOPNOTSUPP), { code: 'EOPNOTSUPP' });
  t.match(systemCallError('msync', 'a file', 4095), { code: 'EIO', message: /errno 4095/ });
});

t.test('fileSystemError: wraps what node:fs throws, and nothing else', async (t) => {
  const cause = Object.assign(new Error('denied'), { code: 'EACCES', syscall: 'open' });
  t.match(fileSystemError('open x', cause, 'ask'), {
    code: 'EACCES',
    message: 'cannot open x: denied: ask',
    cause,
  });
  t.match(fileSystemError('open x', Object.assign(cause, { code: 'EMFILE' })), {
    code: 'EIO',
    message: 'cannot open x: denied',
  });
  const ours = new DaxdError('ENOSPC', 'full');
  t.equal(fileSystemError('open x', ours), ours);
  t.equal(fileSystemError('open x', 5), 5);
});
