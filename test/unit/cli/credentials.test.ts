import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { credentialsFrom, leaseSecretHeader } from '../../../src/cli/credentials.js';
import { UsageError } from '../../../src/cli/usage-error.js';
import { makeCertificates } from '../../support/nbd/certificates.js';
import { requires } from '../../support/requires.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

t.test('credentials: none are needed, and each has its variable', async (t) => {
  t.strictSame(await credentialsFrom({}), { token: undefined, tls: undefined });
  t.strictSame(leaseSecretHeader({}), {});
  t.match(await credentialsFrom({ DAXD_TOKEN: 'abc.~+/=' }), { token: 'abc.~+/=' });
  t.strictSame(leaseSecretHeader({ DAXD_LEASE_SECRET: 'x_-1' }), { 'lease-secret': 'x_-1' });
});

t.test(
  'credentials: certificate and key are tried, and the one that is wrong is named',
  async (t) => {
    if (!requires(t, { commands: ['certtool'] })) return;
    const at = makeCertificates(join(scratchDirectory(t), 'keys'));
    const file = (name: string): string => join(at, `${name}.pem`);
    const pair = { DAXD_TLS_CERT: file('client-cert'), DAXD_TLS_KEY: file('client-key') };
    const { tls } = await credentialsFrom(pair);
    t.strictSame(tls?.cert, readFileSync(file('client-cert')));
    const wrong: [string, string, RegExp][] = [
      [
        'package.json',
        file('client-key'),
        /^DAXD_TLS_CERT: package.json is no certificate in PEM: /,
      ],
      [file('client-cert'), 'package.json', /^DAXD_TLS_KEY: package.json is no key in PEM of that/],
      [file('client-cert'), file('server-key'), /^DAXD_TLS_KEY: .*server-key.pem is no key/],
    ];
    for (const [cert, key, message] of wrong) {
      const refused = credentialsFrom({ DAXD_TLS_CERT: cert, DAXD_TLS_KEY: key });
      await t.rejects(refused, { name: 'UsageError', message });
    }
  },
);

t.test('credentials: what is wrong names the variable and shows no secret', async (t) => {
  for (const value of ['', 'secret\n', 'a secret', 'sécret']) {
    const token = { message: /^DAXD_TOKEN is empty, or holds blanks/ };
    await t.rejects(credentialsFrom({ DAXD_TOKEN: value }), token, JSON.stringify(value));
    const secret = { message: /^DAXD_LEASE_SECRET is empty, or holds blanks/ };
    t.throws(() => leaseSecretHeader({ DAXD_LEASE_SECRET: value }), secret);
  }
  await t.rejects(credentialsFrom({ DAXD_TLS_CERT: 'x' }), { message: /go together/ });
  await t.rejects(credentialsFrom({ DAXD_TLS_KEY: 'x' }), UsageError);
  const absent = { DAXD_TLS_CERT: '/nowhere', DAXD_TLS_KEY: '/nowhere' };
  await t.rejects(credentialsFrom(absent), {
    message: /DAXD_TLS_CERT: \/nowhere cannot be read/,
  });
});
