import t from 'tap';

import { HttpRefusal, problemFor } from '../../../src/http/problem.js';
import { DaxdError, ERROR_CODES } from '../../../src/lib/errno.js';
import type { ErrorCode } from '../../../src/lib/errno.js';

function statusOf(code: ErrorCode): number {
  return problemFor(new DaxdError(code, 'why'), '/a').status;
}

t.test('problemFor: each code has its status, as API.md lists them', async (t) => {
  const table: Record<number, readonly string[]> = {
    400: ['EINVAL', 'ENAMETOOLONG', 'ELOOP'],
    403: ['EACCES', 'EPERM', 'EROFS'],
    404: ['ENOENT'],
    409: ['EBUSY', 'EEXIST', 'ENOTEMPTY', 'EISDIR', 'ENOTDIR', 'EMLINK', 'recall-conflict'],
    412: ['stale-generation'],
    413: ['EFBIG'],
    422: ['ESRCH', 'EOPNOTSUPP'],
    500: ['EIO', 'EBADMSG', 'EUCLEAN'],
    503: ['ESHUTDOWN', 'draining'],
    507: ['ENOSPC', 'quarantine-full'],
  };
  for (const [status, codes] of Object.entries(table)) {
    for (const code of ERROR_CODES.filter((one) => codes.includes(one))) {
      t.equal(statusOf(code), Number(status), code);
    }
  }
  t.ok(ERROR_CODES.every((code) => statusOf(code) >= 400 && statusOf(code) < 600));
});

t.test('problemFor: the status of HTTP itself takes precedence', async (t) => {
  t.match(problemFor(new DaxdError('EBUSY', 'in use by x'), '/a'), {
    type: 'urn:daxd:problem:ebusy',
    status: 409,
    code: 'EBUSY',
    detail: 'in use by x',
    instance: '/a',
  });
  const refusal = new HttpRefusal({ status: 415, code: 'EINVAL', message: 'no JSON' });
  t.match(problemFor(refusal, '/a'), { status: 415, code: 'EINVAL' });
});
