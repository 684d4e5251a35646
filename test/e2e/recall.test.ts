import t from 'tap';

import { requires } from '../support/requires.js';
import { curl, post, startCurl, startDaxd, until } from './daxd.js';
import { kernelImages } from './images.js';

const kernelImage = await kernelImages(t);
const P = 4096;

t.test('recall: a holder sees what waits for it, and may give back just that', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { path: image } = kernelImage(t);
  const daxd = await startDaxd(t, ['--backing', image]);
  const asked = { partition: 'pmem0p1', path: 'big.txt', access: 'read', ttl_ms: 60_000 };
  const acquire = async (offset: number, length: number) =>
    (await curl(...post(`${daxd.url}/v1/leases`, { ...asked, offset, length }))).json;
  const lease = await acquire(0, 2 * P);
  const other = await acquire(8 * P, P);
  t.equal(lease.state, 'active');
  t.strictSame(lease.recalls, []);
  const punch = startCurl(
    post(`${daxd.url}/v1/partitions/pmem0p1/punch-hole`, {
      path: 'big.txt',
      offset: P + 100,
      length: 100,
      deadline_ms: 60_000,
    }),
  );
  const shown = await until(
    async () => (await curl(`${daxd.url}/v1/leases/${lease.id}`)).json,
    ({ recalls }) => recalls.length > 0,
  );
  const [{ id: operation }] = (await curl(`${daxd.url}/v1/operations`)).json.operations;
  const wanted = { operation, op: 'punch-hole', ranges: [{ offset: P, length: P }] };
  t.match(shown, { state: 'recalling', recalls: [wanted] });
  t.ok(shown.recalls[0].deadline_ms > 0 && shown.recalls[0].deadline_ms <= 60_000);
  const beside = (await curl(`${daxd.url}/v1/leases/${other.id}`)).json;
  t.equal(beside.state, 'active');
  t.strictSame(beside.recalls, []);
  const renewed = await curl(...post(`${daxd.url}/v1/leases/${lease.id}/renew`));
  t.match(renewed, { status: 200, json: { state: 'recalling', recalls: [wanted] } });
  const { leases } = (await curl(`${daxd.url}/v1/leases`)).json;
  t.match(leases, [{ state: 'recalling' }, { state: 'active' }]);
  const { ranges } = shown.recalls[0];
  const rest = await curl(...post(`${daxd.url}/v1/leases/${lease.id}/release`, { ranges }));
  t.match(rest.json, { ranges: [{ offset: 0, length: P }], pages: 1 });
  t.equal((await punch.answer).status, 200, 'the rest of the lease is not in its way');
  const after = (await curl(`${daxd.url}/v1/leases/${lease.id}`)).json;
  t.equal(after.state, 'active');
  t.strictSame(after.recalls, []);
  t.equal(await daxd.stop(), 0);
});
