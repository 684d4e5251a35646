import { spawnSync } from 'node:child_process';

import t from 'tap';

import { requires } from '../support/requires.js';
import { curl, startDaxd } from './daxd.js';
import { kernelImages } from './images.js';

const kernelImage = await kernelImages(t);

t.test('metrics: promtool finds nothing to say', async (t) => {
  if (!requires(t, { commands: ['curl', 'promtool'] })) return;
  const daxd = await startDaxd(t, ['--backing', kernelImage(t).path]);
  await curl(`${daxd.url}/v1/partitions/pmem0p1/files/hello.txt`);
  const { body } = await curl(`${daxd.url}/metrics`);
  const verdict = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' });
  t.equal(verdict.status, 0, `${verdict.stdout}${verdict.stderr}`);
  t.equal(`${verdict.stdout}${verdict.stderr}`, '');
  t.match(
    body,
    /^daxd_http_request_duration_seconds_count\{route="\/v1\/partitions\/:partition\/files\/\*",method="GET",code="200"\} 1$/m,
  );
  t.notMatch(body, /hello\.txt/, 'no path is a label');
});
