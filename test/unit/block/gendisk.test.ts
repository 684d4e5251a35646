import { randomUUID } from 'node:crypto';

import t from 'tap';

import { Gendisk } from '../../../src/block/gendisk.js';
import { createPartitionTable, scanPartitionTable } from '../../../src/block/partition-table.js';
import { RequestQueue } from '../../../src/block/request-queue.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { WarningRecorder } from './log-recorder.js';

interface SetUp {
  readonly backing: MemoryBacking;
  readonly disk: Gendisk;
  readonly log: WarningRecorder;
  /** The disk as a later attach would find it. */
  readonly again: () => Gendisk;
}

/** A disk that starts at `dataOffset` of its backing. */
function setUp({ backing = new MemoryBacking(32 * MIB), dataOffset = 6 * MIB } = {}): SetUp {
  const log = new WarningRecorder();
  const make = (): Gendisk => {
    const range = new BackingRange(backing, dataOffset, backing.sizeBytes - dataOffset);
    const disk = new Gendisk({ name: 'pmem0', range, queue: new RequestQueue(), log });
    disk.scanPartitions();
    return disk;
  };
  return { backing, disk: make(), log, again: make };
}

/** A blank disk with a table laid over it, and no partition. */
async function layTable(disk: Gendisk): Promise<void> {
  await createPartitionTable(disk.range);
  disk.scanPartitions();
}

function listed(disk: Gendisk): (readonly [string, string, number, number])[] {
  return disk.partitions.map((p) => [p.name, p.label, p.startBytes, p.sizeBytes] as const);
}

/** Media of 32 MiB that persist nothing any more once they are told to fail. */
function failingBacking(): { readonly backing: MemoryBacking; readonly fail: () => void } {
  let isFailing = false;
  const onPersist = (): void => {
    if (isFailing) throw new Error('no medium');
  };
  const fail = (): void => {
    isFailing = true;
  };
  return { backing: new MemoryBacking(32 * MIB, { onPersist }), fail };
}

t.test('Gendisk: byte 0 is where its range starts', async (t) => {
  const { disk } = setUp();
  t.match(disk, { dataOffset: 6 * MIB, sizeBytes: 26 * MIB, logicalBlockSize: 512 });
  t.throws(() => setUp({ dataOffset: 512 }), InvariantError);
});

t.test('addPartition: lays a table over a blank disk and lasts', async (t) => {
  const { disk, again, log } = setUp();
  const first = await disk.addPartition({ sizeBytes: 8 * MIB, label: 'data' });
  t.match(first, {
    name: 'pmem0p1',
    number: 1,
    label: 'data',
    type: '0fc63daf-8483-4772-8e79-3d69d8477de4',
    startBytes: 2 * MIB,
    sizeBytes: 8 * MIB,
  });
  t.equal(first.range.start, 8 * MIB);
  const rest = await disk.addPartition({ label: 'scratch' });
  t.match(rest, { name: 'pmem0p2', startBytes: 10 * MIB, sizeBytes: 16 * MIB - 20480 });
  t.strictSame(listed(again()), listed(disk));
  t.equal(again().partition('pmem0p1').uuid, first.uuid);
  t.strictSame(log.warnings, []);
});

t.test('addPartition: starts on 2 MiB of the backing also where the disk does not', async (t) => {
  const { disk } = setUp({ dataOffset: 5 * MIB });
  const { startBytes, sizeBytes, range } = await disk.addPartition({ label: '' });
  t.equal(startBytes, MIB);
  t.equal(range.start % (2 * MIB), 0);
  t.equal((startBytes + sizeBytes) % 4096, 0);
});

t.test('addPartition: refusals leave the disk as it was', async (t) => {
  const { disk, backing } = setUp();
  await t.rejects(disk.addPartition({ label: 'x'.repeat(37) }), { code: 'EINVAL' });
  t.equal(backing.persistCount, 0, 'not even a table was written');
  await disk.addPartition({ sizeBytes: 4 * MIB, label: 'a' });
  await t.rejects(disk.addPartition({ sizeBytes: 4095, label: 'b' }), { code: 'EINVAL' });
  await t.rejects(disk.addPartition({ sizeBytes: 24 * MIB, label: 'b' }), { code: 'ENOSPC' });
  t.equal(disk.partitions.length, 1);
});

t.test('addPartition: asked twice at once gives two that do not overlap', async (t) => {
  const { disk, again } = setUp();
  const sizeBytes = 4 * MIB;
  const [a, b] = await Promise.all([
    disk.addPartition({ sizeBytes, label: 'a' }),
    disk.addPartition({ sizeBytes, label: 'b' }),
  ]);
  t.equal(a.startBytes + a.sizeBytes, b.startBytes);
  t.equal(again().partitions.length, 2);
});

t.test('addPartition: nobody gets the whole disk while the table is edited', async (t) => {
  let disk: Gendisk | undefined;
  const refusals: unknown[] = [];
  const backing = new MemoryBacking(32 * MIB, {
    onPersist: () => {
      // As a block client does: once the last one has left, the table is read anew.
      const whole = disk;
      disk = undefined;
      try {
        whole?.claim('NBD clients', 'shared').release();
        whole?.scanPartitions();
      } catch (error) {
        refusals.push(error);
      }
    },
  });
  const { disk: edited, again } = setUp({ backing });
  await layTable(edited);
  for (const label of ['a', 'b']) {
    disk = edited;
    await edited.addPartition({ sizeBytes: 4 * MIB, label });
  }
  t.match(refusals, [
    { code: 'EBUSY', message: 'pmem0p1 is in use by partition create' },
    { code: 'EBUSY', message: 'pmem0p2 is in use by partition create' },
  ]);
  t.strictSame(
    again().partitions.map(({ label }) => label),
    ['a', 'b'],
    'what was answered is there',
  );
  edited.claim('NBD clients', 'shared').release();
});

t.test('addPartition: where the media fail the disk is free again', async (t) => {
  const { backing, fail } = failingBacking();
  const { disk } = setUp({ backing });
  await layTable(disk);
  fail();
  await t.rejects(disk.addPartition({ label: 'a' }), { message: 'no medium' });
  t.strictSame(disk.partitions, []);
  disk.claim('export').release();
});

t.test('addPartition: ENOSPC when the slots are used up', async (t) => {
  const { disk } = setUp({ backing: new MemoryBacking(280 * MIB), dataOffset: 2 * MIB });
  for (let i = 0; i < 128; i++) await disk.addPartition({ sizeBytes: 4096, label: `${i}` });
  await t.rejects(disk.addPartition({ sizeBytes: 4096, label: 'x' }), {
    code: 'ENOSPC',
    message: /all 128 entries/,
  });
});

t.test('addPartition: a refusal does not stop the edits behind it', async (t) => {
  const { disk } = setUp();
  const refused = disk.addPartition({ sizeBytes: 1, label: 'a' });
  const taken = disk.addPartition({ label: 'b' });
  await t.rejects(refused, { code: 'EINVAL' });
  t.equal((await taken).number, 1);
});

t.test('deletePartition: keeps numbers and objects of the others, and lasts', async (t) => {
  const { disk, again } = setUp();
  const sizeBytes = 4 * MIB;
  const first = await disk.addPartition({ sizeBytes, label: 'a' });
  const second = await disk.addPartition({ sizeBytes, label: 'b' });
  await disk.deletePartition('pmem0p1');
  t.strictSame(listed(disk), [['pmem0p2', 'b', 6 * MIB, 4 * MIB]]);
  t.equal(disk.partition('pmem0p2'), second);
  t.throws(() => disk.partition('pmem0p1'), { code: 'ENOENT', message: /there is pmem0p2/ });
  t.throws(() => first.claim('late'), { code: 'ENODEV' });
  t.strictSame(listed(again()), listed(disk));

  const third = await disk.addPartition({ sizeBytes, label: 'c' });
  t.match(third, { number: 1, startBytes: 2 * MIB });
  t.not(third, first);
});

t.test('deletePartition: EBUSY while it or the disk is claimed, ENOENT for none', async (t) => {
  const { disk } = setUp();
  const partition = await disk.addPartition({ label: 'a' });
  const mount = partition.claim('mount');
  t.equal(partition.holder, 'mount');
  await t.rejects(disk.deletePartition('pmem0p1'), { code: 'EBUSY', message: /in use by mount/ });
  mount.release();
  const whole = disk.claim('export');
  t.equal(partition.holder, 'export');
  await t.rejects(disk.deletePartition('pmem0p1'), { code: 'EBUSY' });
  await t.rejects(disk.addPartition({ label: 'b' }), { code: 'EBUSY' });
  whole.release();
  await t.rejects(disk.deletePartition('pmem0p9'), { code: 'ENOENT' });
  await disk.deletePartition('pmem0p1');
  t.strictSame(disk.partitions, []);
});

t.test('deletePartition: a partition in use does not keep others from going', async (t) => {
  const { disk } = setUp();
  const first = await disk.addPartition({ sizeBytes: 4 * MIB, label: 'a' });
  await disk.addPartition({ sizeBytes: 4 * MIB, label: 'b' });
  first.claim('mount');
  await disk.deletePartition('pmem0p2');
  await disk.addPartition({ sizeBytes: 4 * MIB, label: 'c' });
  t.equal(disk.partition('pmem0p1'), first);
  t.equal(first.holder, 'mount');
});

t.test('deletePartition: where the media fail it stays and is free again', async (t) => {
  const { backing, fail } = failingBacking();
  const { disk } = setUp({ backing });
  const partition = await disk.addPartition({ label: 'a' });
  fail();
  await t.rejects(disk.deletePartition('pmem0p1'), { message: 'no medium' });
  t.equal(disk.partition('pmem0p1'), partition);
  t.equal(partition.holder, undefined);
});

t.test('edits: EUCLEAN once a table was left that cannot be used, until a good one', async (t) => {
  const { disk, backing, log } = setUp();
  const first = await disk.addPartition({ sizeBytes: 4 * MIB, label: 'a' });
  // What a client of the whole disk stores: an entry over the first, and later one beside it.
  const left = scanPartitionTable(disk.range, log);
  if (left.kind !== 'gpt') throw new Error(`the disk holds ${left.kind}`);
  const entry = { number: 2, type: first.type, uuid: randomUUID(), label: 'client' };
  await left.table.add({ ...entry, firstLba: 4096, lastLba: 8191 });
  const stored = Buffer.from(backing.mapping.view(0, backing.sizeBytes));

  const refusal = {
    code: 'EUCLEAN',
    message:
      /a table that cannot be used \(GPT entries 1 and 2 overlap.*: clear it, or correct the table/,
  };
  disk.scanPartitions();
  t.match(log.warnings, [{ fields: { code: 'EUCLEAN', disk: 'pmem0' }, message: /unusable/ }]);
  t.strictSame(disk.partitions, []);
  t.throws(() => first.claim('late'), { code: 'ENODEV' });
  await t.rejects(disk.addPartition({ sizeBytes: 4 * MIB, label: 'b' }), refusal);
  await t.rejects(disk.deletePartition('pmem0p1'), { code: 'ENOENT' });
  t.ok(backing.mapping.view(0, backing.sizeBytes).equals(stored), 'not a byte changed');

  await left.table.remove(2);
  await left.table.add({ ...entry, firstLba: 20480, lastLba: 24575 });
  disk.scanPartitions();
  t.match(await disk.addPartition({ sizeBytes: 4 * MIB, label: 'b' }), { name: 'pmem0p3' });
  t.strictSame(
    disk.partitions.map(({ label }) => label),
    ['a', 'client', 'b'],
  );
});

t.test('addPartition: EEXIST on what is not blank, which stays as it is', async (t) => {
  for (const [what, offset, bytes] of [
    ['ext4', 1080, '\x53\xef'],
    ['data at byte 700000', 700000, 'x'],
    ['data at byte', 26 * MIB - 1, 'x'],
  ] as const) {
    const { disk, backing } = setUp();
    disk.range.write(offset, Buffer.from(bytes, 'latin1'));
    const refusal = { code: 'EEXIST', message: new RegExp(what) };
    await t.rejects(disk.addPartition({ label: 'a' }), refusal);
    t.equal(backing.persistCount, 0);
  }
});

t.test('addPartition: EUCLEAN over a damaged table, EROFS on a read-only backing', async (t) => {
  const { disk, again, log } = setUp();
  await layTable(disk);
  disk.range.fill(512, 512, 0);
  disk.range.fill(26 * MIB - 512, 512, 0);
  const damaged = again();
  t.strictSame(damaged.partitions, []);
  t.match(log.warnings, [{ fields: { code: 'EUCLEAN', disk: 'pmem0' }, message: /unusable/ }]);
  await t.rejects(damaged.addPartition({ label: 'a' }), {
    code: 'EUCLEAN',
    message: /both copies of the GPT are damaged/,
  });

  const { disk: fixed } = setUp({ backing: new MemoryBacking(32 * MIB, { readOnly: true }) });
  await t.rejects(fixed.addPartition({ label: 'a' }), { code: 'EROFS' });
  await t.rejects(fixed.deletePartition('pmem0p1'), { code: 'EROFS' });
});

t.test('wholeDisk: a filesystem without a table is entry 0, named like the disk', async (t) => {
  const { disk, again } = setUp();
  t.equal(disk.wholeDisk, undefined, 'a blank disk has none');
  disk.range.write(1080, Buffer.from([0x53, 0xef]));
  const bare = again();
  const whole = bare.wholeDisk;
  t.match(whole, { name: 'pmem0', number: 0, startBytes: 0, sizeBytes: 26 * MIB });
  t.equal(bare.partition('pmem0'), whole);
  const claim = whole?.claim('mount');
  t.throws(() => bare.claim('export'), { code: 'EBUSY', message: /mount/ });
  claim?.release();
  await t.rejects(bare.deletePartition('pmem0'), { code: 'EINVAL' });
});

t.test('wholeDisk: every kind of filesystem has one', async (t) => {
  for (const [type, offset, bytes] of [
    ['xfs', 0, 'XFSB'],
    ['f2fs', 1024, '\x10\x20\xf5\xf2'],
    ['erofs', 1024, '\xe2\xe1\xf5\xe0'],
    ['squashfs', 0, 'hsqs'],
    ['ntfs', 3, 'NTFS    '],
    ['swap of 64 KiB pages', 65526, 'SWAPSPACE2'],
  ] as const) {
    const { disk, again } = setUp();
    disk.range.write(offset, Buffer.from(bytes, 'latin1'));
    t.equal(again().wholeDisk?.name, 'pmem0', type);
  }
});

t.test('del: refuses claims, scans and edits from then on', async (t) => {
  const { disk } = setUp();
  const partition = await disk.addPartition({ label: 'a' });
  disk.del();
  t.throws(() => disk.claim('late'), { code: 'ENODEV' });
  t.throws(() => partition.claim('late'), { code: 'ENODEV' });
  t.throws(
    () => {
      disk.scanPartitions();
    },
    { code: 'ENODEV' },
  );
  await t.rejects(disk.deletePartition('pmem0p1'), { code: 'ENODEV' });
});
