import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import t from 'tap';

import { GPT_PRIMARY_LBA, readGptCopy, writeGptCopy } from '../../../src/block/gpt-copy.js';
import { encodeEntry, LINUX_FILESYSTEM_TYPE } from '../../../src/block/gpt-entry.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { SECTOR_SIZE } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { runJudge } from '../../support/ext4-image.js';
import { requires } from '../../support/requires.js';
import { openDaemon, scratch } from './set-up.js';

/** Names a second partition over the first one in both copies of the table, with right checksums. */
async function overlap(path: string, start: number, length: number): Promise<void> {
  const backing = await openBacking(path, { log: silentLogger });
  const disk = new BackingRange(backing, start, length);
  for (const lba of [GPT_PRIMARY_LBA, length / SECTOR_SIZE - 1]) {
    const copy = readGptCopy(disk, lba);
    if ('damage' in copy) throw new Error(copy.damage);
    encodeEntry(copy.entries, {
      number: 2,
      type: LINUX_FILESYSTEM_TYPE,
      uuid: '11111111-2222-4333-8444-555555555555',
      label: 'over',
      firstLba: 8192n,
      lastLba: BigInt(copy.lastUsableLba),
    });
    await writeGptCopy(disk, copy);
  }
  await backing.close();
}

t.test('a table of an fsdax backing is repaired as its refusal says', async (t) => {
  if (!requires(t, { commands: ['losetup', 'sgdisk', 'ndctl'], root: true })) return;
  const backing = join(scratch(t), 'pmem0.img');
  const made = await openDaemon(t, { backing, size: '64M', init: true });
  const { body } = await made.get('/v1/device');
  await made.close();
  await overlap(backing, body.namespace.data_offset, body.disk.size);

  let refusal = '';
  await t.rejects(
    openDaemon(t, { backing }).catch((error: Error) => {
      refusal = error.message;
      throw error;
    }),
    { code: 'EUCLEAN', message: /GPT entries 1 and 2 overlap/ },
  );
  const command = /"(losetup [^"]+)"/.exec(refusal)?.[1] ?? '';
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
