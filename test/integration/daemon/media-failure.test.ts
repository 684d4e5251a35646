import { statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { openDaemon, scratch } from './set-up.js';

const P1 = '/v1/partitions/pmem0p1';

t.test('readyz: after an error of the media it says which filesystem is read-only', async (t) => {
  const backing = join(scratch(t), 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', init: true });
  t.equal((await daemon.put(`${P1}/files/a`, 'hello')).status, 201);
  t.match(await daemon.get('/readyz'), { status: 200, body: { ready: true } });

  // Nothing that daxd reads lies in the last page; it looks at the size before each commit.
  truncateSync(backing, statSync(backing).size - 4096);
  t.match(await daemon.post(`${P1}/mkdir`, { path: 'b' }), { status: 500, body: { code: 'EIO' } });
  t.match(await daemon.get('/readyz'), {
    status: 503,
    body: { ready: false, reasons: [/pmem0p1 is read-only: .*media failed/] },
  });
  const metrics: string = (await daemon.get('/metrics')).body;
  t.match(metrics, /daxd_filesystem_read_only\{partition="pmem0p1"\} 1/);
  t.match(await daemon.post(`${P1}/mkdir`, { path: 'b' }), {
    status: 403,
    body: { code: 'EROFS' },
  });
  t.equal((await daemon.get(`${P1}/files/a`)).body, 'hello', 'what is there is read');
  t.equal((await daemon.get(`${P1}/files/b`)).status, 404, 'what failed is not');
});
