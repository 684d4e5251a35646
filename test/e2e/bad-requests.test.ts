import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { requires } from '../support/requires.js';
import { curl, post, startDaxd } from './daxd.js';
import { kernelImages } from './images.js';

const kernelImage = await kernelImages(t);

t.test('http: what cannot be is a clear error', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { directory, path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const leases = `${daxd.url}/v1/leases`;
  const lease = {
    partition: 'pmem0p1',
    path: 'hello.txt',
    offset: 0,
    length: 11,
    access: 'read',
    ttl_ms: 60_000,
  };
  for (const [change, status, code] of [
    [{ offset: 11 }, 400, 'EINVAL'],
    [{ offset: 4096 }, 400, 'EINVAL'],
    [{ length: 4097 }, 400, 'EINVAL'],
    [{ offset: -1 }, 400, 'EINVAL'],
    [{ offset: 2 ** 53 }, 400, 'EINVAL'],
    [{ length: 2 ** 53 - 1 }, 400, 'EINVAL'],
    [{ offset: '0' }, 400, 'EINVAL'],
    [{ deadline_ms: 1 }, 400, 'EINVAL'],
    [{ path: 'none' }, 404, 'ENOENT'],
    [{ path: 'dir' }, 409, 'EISDIR'],
    [{ path: '../etc/passwd' }, 400, 'EINVAL'],
    [{ partition: 'pmem0p2', path: undefined }, 422, 'EOPNOTSUPP'],
    [{ path: undefined }, 409, 'EBUSY'],
    [{ pid: 2 ** 22, pid_start: 1 }, 422, 'ESRCH'],
  ] as const) {
    const refused = await curl(...post(leases, { ...lease, ...change }));
    t.equal(refused.status, status, JSON.stringify(change));
    t.equal(refused.json.code, code);
  }
  t.equal(
    (await curl(...post(leases, { ...lease, length: 4096 }))).status,
    201,
    'to the end of the page',
  );

  const large = join(directory, 'large.json');
  writeFileSync(large, JSON.stringify({ path: 'a'.repeat(10_000_000), size: 0 }));
  const truncate = `${daxd.url}/v1/partitions/pmem0p1/truncate`;
  const json = ['-X', 'POST', '-H', 'content-type: application/json', '--data-binary', `@${large}`];
  // Each time: closed while it sends, a client may or may not see the answer.
  for (let i = 0; i < 10; i++) t.equal((await curl(...json, truncate)).status, 413);
  t.equal((await curl('-H', 'host: evil.example', `${daxd.url}/livez`)).status, 403);
  const page = ['-X', 'POST', '-H', 'origin: http://evil.example'];
  t.equal((await curl(...page, `${daxd.url}/v1/partitions/pmem0p1/unmount`)).status, 403);
  for (const path of ['/', '/v1/nothing', '/v1/events/x']) {
    t.equal((await curl(`${daxd.url}${path}`)).status, 404, path);
  }
  const formatted = await curl(
    ...post(`${daxd.url}/v1/partitions/pmem0p1/format`, { force: true }),
  );
  t.equal(formatted.json.code, 'EBUSY', 'what is mounted is not formatted');
  const unmounted = await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/unmount`));
  t.equal(unmounted.json.code, 'EBUSY', 'what is leased is not unmounted');
});
