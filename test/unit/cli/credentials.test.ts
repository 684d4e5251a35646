import t from 'tap';

import { credentialsFrom, leaseSecretHeader } from '../../../src/cli/credentials.js';
import { UsageError } from '../../../src/cli/usage-error.js';

t.test('credentials: none are needed, and each has its variable', async (t) => {
  t.strictSame(credentialsFrom({}), { token: undefined, tls: undefined });
  t.strictSame(leaseSecretHeader({}), {});
  t.equal(credentialsFrom({ DAXD_TOKEN: 'abc.~+/=' }).token, 'abc.~+/=');
  t.strictSame(leaseSecretHeader({ DAXD_LEASE_SECRET: 'x_-1' }), { 'lease-secret': 'x_-1' });
  const pair = { DAXD_TLS_CERT: 'package.json', DAXD_TLS_KEY: 'README.md' };
  t.match(String(credentialsFrom(pair).tls?.cert), /"name": "daxd"/);
});

t.test('credentials: what is wrong names the variable and shows no secret', async (t) => {
  for (const value of ['', 'secret\n', 'a secret', 'sécret']) {
    const token = { message: /^DAXD_TOKEN is empty, or holds blanks/ };
    t.throws(() => credentialsFrom({ DAXD_TOKEN: value }), token, JSON.stringify(value));
    const secret = { message: /^DAXD_LEASE_SECRET is empty, or holds blanks/ };
    t.throws(() => leaseSecretHeader({ DAXD_LEASE_SECRET: value }), secret);
  }
  t.throws(() => credentialsFrom({ DAXD_TLS_CERT: 'x' }), { message: /go together/ });
  t.throws(() => credentialsFrom({ DAXD_TLS_KEY: 'x' }), UsageError);
  const absent = { DAXD_TLS_CERT: '/nowhere', DAXD_TLS_KEY: '/nowhere' };
  t.throws(() => credentialsFrom(absent), { message: /DAXD_TLS_CERT: \/nowhere cannot be read/ });
});
