import t from 'tap';

import { mkfsExt4 } from '../../../../src/fs/ext4/mkfs.js';
import { probeSuperblock } from '../../../../src/fs/ext4/probe.js';
import { MIB } from '../../../../src/lib/units.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../support/memory-backing.js';

const clock = { nowMs: () => 0, wallMs: () => 1_700_000_000_000, setTimer: () => () => {} };

function makeRange(sizeBytes: number): BackingRange {
  return new BackingRange(new MemoryBacking(sizeBytes), 0, sizeBytes);
}

t.test('mkfsExt4: the superblock is zero until everything else is durable', async (t) => {
  const sizeBytes = 8 * MIB;
  const seen: (string | undefined)[] = [];
  const backing = new MemoryBacking(sizeBytes, {
    onPersist: () => {
      seen.push(probeSuperblock(range)?.type);
    },
  });
  const range = new BackingRange(backing, 0, sizeBytes);
  await mkfsExt4(range, { label: 'old', clock });
  seen.length = 0;
  await mkfsExt4(range, { label: 'new', clock });
  t.ok(seen.length > 3);
  t.strictSame([...new Set(seen.slice(0, -1))], [undefined], 'neither the old nor a half new one');
  t.equal(seen.at(-1), 'ext4');
});

t.test(
  'mkfsExt4: refuses labels, uuids and media that will not do, before it stores',
  async (t) => {
    const range = makeRange(8 * MIB);
    const refused = (options: { label: string; uuid?: string }) =>
      mkfsExt4(range, { ...options, clock });
    await t.rejects(refused({ label: 'seventeen bytes ..' }), {
      code: 'EINVAL',
      name: 'DaxdError',
    });
    await t.rejects(refused({ label: 'a\0b' }), { code: 'EINVAL', name: 'DaxdError' });
    await t.rejects(refused({ label: '', uuid: 'no' }), { code: 'EINVAL', name: 'DaxdError' });
    t.equal(probeSuperblock(range), undefined, 'nothing was written');

    const readOnly = new MemoryBacking(8 * MIB, { readOnly: true });
    await t.rejects(mkfsExt4(new BackingRange(readOnly, 0, 8 * MIB), { label: '', clock }), {
      code: 'EROFS',
      name: 'DaxdError',
    });
    await t.rejects(mkfsExt4(makeRange(4 * MIB), { label: '', clock }), {
      code: 'EINVAL',
      name: 'DaxdError',
    });
  },
);
