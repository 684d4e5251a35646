import t from 'tap';

import { Gendisk } from '../../../src/block/gendisk.js';
import { RequestQueue } from '../../../src/block/request-queue.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import type { RawMemory } from '../../../src/media/raw-memory.js';
import { Exports } from '../../../src/nbd/exports.js';
import { NbdCounters } from '../../../src/nbd/nbd-counters.js';
import { MemoryBacking } from '../../support/memory-backing.js';

const SIZE = 64 * MIB;
const MEMORY: RawMemory = {
  path: '(memory)',
  address: 4096,
  length: SIZE,
  fd: -1,
  kind: 'file',
  persistence: 'none',
  sparse: false,
  readOnly: false,
};

async function setUp() {
  const backing = new MemoryBacking(SIZE);
  const range = new BackingRange(backing, 0, SIZE);
  const disk = new Gendisk({ name: 'pmem0', range, queue: new RequestQueue(), log: silentLogger });
  await disk.addPartition({ label: 'one', sizeBytes: 8 * MIB });
  await disk.addPartition({ label: 'two', sizeBytes: 8 * MIB });
  const leases = new Map<string, number>();
  const fileLeases = (name: string): number => leases.get(name) ?? 0;
  const options = { disk, pgmap: undefined, memory: MEMORY, log: silentLogger, fileLeases };
  return { disk, exports: new Exports(options), backing, leases };
}

function names(exports: Exports): string[] {
  return exports.list().map(({ name }) => name);
}

t.test('list: what nobody has for himself', async (t) => {
  const { disk, exports } = await setUp();
  t.strictSame(names(exports), ['pmem0', 'pmem0p1', 'pmem0p2']);
  t.match(exports.list()[1], { description: 'label "one", 8388608 bytes', sizeBytes: 8 * MIB });
  const mount = disk.partition('pmem0p1').claim('the ext4 mounted on pmem0p1');
  t.strictSame(names(exports), ['pmem0p2']);
  t.throws(() => exports.describe('pmem0p1'), { code: 'EBUSY', message: /the ext4 mounted/ });
  t.throws(() => exports.open('pmem0'), { code: 'EBUSY', message: /the ext4 mounted/ });
  t.throws(() => exports.describe('pmem0p9'), { code: 'ENOENT', message: /there is pmem0p2/ });
  t.equal(exports.describe('').name, 'pmem0p2', 'the only one is the default');
  mount.release();
  t.equal(exports.describe('').name, 'pmem0');
});

t.test('refuse: nobody opens it, nor the disk, until that ends', async (t) => {
  const { exports } = await setUp();
  exports.open('pmem0p1');
  const readmit = exports.refuse('pmem0p1');
  const again = exports.refuse('pmem0p1');
  readmit();
  t.equal(exports.clients('pmem0p1'), 1, 'who has it keeps it');
  for (const hasClients of [true, false]) {
    if (!hasClients) exports.close('pmem0p1', new NbdCounters());
    for (const name of ['pmem0p1', 'pmem0']) {
      const refusal = { code: 'EBUSY', message: /pmem0p1 is being deleted/ };
      t.throws(() => exports.open(name), refusal, `${name}, with clients: ${hasClients}`);
    }
    t.strictSame(names(exports), ['pmem0p2']);
  }
  again();
  t.equal(exports.open('pmem0p1').info.name, 'pmem0p1');
});

t.test('list: nothing of what holds lent files, mounted or not', async (t) => {
  const { disk, exports, leases } = await setUp();
  leases.set('pmem0p1', 2);
  t.strictSame(names(exports), ['pmem0p2']);
  const lent = /in use by 2 leases of files of pmem0p1 .*partition=pmem0p1/;
  for (const name of ['pmem0p1', 'pmem0']) {
    t.throws(() => exports.describe(name), { code: 'EBUSY', message: lent });
    t.throws(() => exports.open(name), { code: 'EBUSY', message: lent });
  }
  const raw = disk.partition('pmem0p1').claim('raw leases', 'shared');
  t.throws(() => exports.open('pmem0p1'), { message: lent }, 'not who would share it');
  raw.release();
  const mount = disk.partition('pmem0p1').claim('the ext4 mounted on pmem0p1');
  t.throws(() => exports.open('pmem0p1'), { message: /the ext4 mounted/ });
  mount.release();
  leases.clear();
  t.strictSame(names(exports), ['pmem0', 'pmem0p1', 'pmem0p2']);
  leases.set('pmem0', 1);
  t.strictSame(names(exports), ['pmem0p1', 'pmem0p2'], 'those of a disk without a table');
});

t.test('open: clients of one export share it, and keep others out', async (t) => {
  const { disk, exports } = await setUp();
  const partition = disk.partition('pmem0p1');
  t.equal(exports.open('pmem0p1').start, partition.range.start);
  exports.open('pmem0p1');
  t.equal(exports.clients('pmem0p1'), 2);
  t.strictSame(names(exports), ['pmem0p1', 'pmem0p2'], 'what GO would refuse is not listed');
  t.throws(() => exports.open('pmem0'), { code: 'EBUSY', message: /NBD clients/ });
  t.throws(() => partition.claim('mount'), { code: 'EBUSY', message: /NBD clients/ });
  const lease = partition.claim('raw leases', 'shared');
  exports.close('pmem0p1', new NbdCounters());
  lease.release();
  t.throws(() => partition.claim('mount'), { code: 'EBUSY' });
  exports.close('pmem0p1', new NbdCounters());
  partition.claim('mount').release();
});

t.test('close: after the last client of the disk its table is read again', async (t) => {
  const { disk, exports, backing } = await setUp();
  exports.open('pmem0');
  exports.open('pmem0');
  t.throws(() => exports.describe('pmem0p1'), { code: 'EBUSY', message: /NBD clients/ });
  t.strictSame(names(exports), ['pmem0']);
  backing.mapping.fill(0, SIZE, 0);
  exports.close('pmem0', new NbdCounters());
  t.equal(disk.partitions.length, 2, 'a client is left');
  exports.close('pmem0', new NbdCounters());
  t.strictSame(names(exports), ['pmem0']);
});

t.test('counters: what connections counted adds up under the name', async (t) => {
  const { exports } = await setUp();
  const counted = new NbdCounters();
  for (let i = 0; i < 2; i++) {
    exports.open('pmem0p1');
    counted.countRead(4096);
    counted.countRequest(0, 0);
    counted.durations[0]?.observe(1e-5, 3);
    exports.close('pmem0p1', counted);
    t.equal(counted.bytesRead, 0, 'the next connection counts from zero');
  }
  const total = exports.counters.get('pmem0p1');
  t.equal(total?.bytesRead, 8192);
  t.equal(total?.durations[0]?.count, 6);
  t.strictSame(
    [...(total?.requests() ?? [])].filter(({ count }) => count > 0),
    [{ command: 'read', outcome: 'ok', count: 2 }],
  );
});
