import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import t from 'tap';

import { runJudge } from '../../support/ext4-image.js';
import { overlapEntries } from '../../support/overlapping-entries.js';
import { requires } from '../../support/requires.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { openDaemon } from './set-up.js';

t.test('a table of an fsdax backing is repaired as its refusal says', async (t) => {
  if (!requires(t, { commands: ['losetup', 'sgdisk', 'ndctl'], root: true })) return;
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const made = await openDaemon(t, { backing, size: '64M', init: true });
  const { body } = await made.get('/v1/device');
  await made.close();
  await overlapEntries(backing, body.namespace.data_offset, body.disk.size);

  const spoilt = await openDaemon(t, { backing });
  t.match(await spoilt.get('/v1/partitions'), { status: 200, body: { length: 0 } });
  const refused = await spoilt.post('/v1/partitions', { label: 'new' });
  t.match(refused.body, { code: 'EUCLEAN', detail: /GPT entries 1 and 2 overlap/ });
  await spoilt.close();
  const command = /"(losetup [^"]+)"/.exec(refused.body.detail)?.[1] ?? '';
  const { stdout, status } = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
  t.equal(status, 0, command);
  const device = stdout.trim();
  try {
    t.match(runJudge('sgdisk', ['-d', '2', device]), { status: 0 });
  } finally {
    spawnSync('losetup', ['-d', device]);
  }
  const { output } = runJudge('ndctl', ['read-infoblock', '-i', backing, '-j', '-V']);
  t.match(output, /"dataoff"/, 'the info block is whole');
  const repaired = await openDaemon(t, { backing });
  const { body: list } = await repaired.get('/v1/partitions');
  t.match(list, [{ name: 'pmem0p1' }]);
  t.equal(list.length, 1);
});
