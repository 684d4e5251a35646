import t from 'tap';

import { targetOf } from '../../../src/client/target.js';

t.test('target: a host, a port, or a socket', async (t) => {
  t.strictSame(targetOf('http://[::1]:8470'), { protocol: 'http:', host: '::1', port: 8470 });
  t.strictSame(targetOf('https://daxd'), { protocol: 'https:', host: 'daxd' });
  t.strictSame(targetOf('unix:/run/daxd'), { socketPath: '/run/daxd', host: 'localhost' });
});

t.test('target: what is no address is refused, a socket without a path too', async (t) => {
  for (const url of ['', 'ftp://x', 'unix', 'unix:']) t.throws(() => targetOf(url), TypeError, url);
});
