import t from 'tap';

import { refusal } from '../../../src/client/client-error.js';

t.test('refusal: the problem that was sent', async (t) => {
  const problem = { code: 'EBUSY', status: 409, detail: 'in use' };
  t.match(refusal(409, JSON.stringify(problem)), { code: 'EBUSY', message: 'in use', problem });
});

t.test('refusal: EIO with the status where the body is no problem', async (t) => {
  for (const text of ['', '<html>', '{"code":"EBUSY","det', '{oops}', '{}']) {
    const error = refusal(503, text);
    t.match(error, { code: 'EIO', status: 503, message: 'daxd answered 503' }, text);
    t.equal(error.isPassing, true);
  }
});
