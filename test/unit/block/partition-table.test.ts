import t from 'tap';

import { type GptCopy, readGptCopy, writeGptCopy } from '../../../src/block/gpt-copy.js';
import { encodeEntry, type GptEntry, LINUX_FILESYSTEM_TYPE } from '../../../src/block/gpt-entry.js';
import {
  createPartitionTable,
  type PartitionTable,
  scanPartitionTable,
} from '../../../src/block/partition-table.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { WarningRecorder } from './log-recorder.js';
import { reseal } from './reseal.js';
import { testSeed } from '../../support/random-test.js';
import { SeededRandom } from '../../support/seeded-random.js';

const uuid = '01234567-89ab-cdef-0123-456789abcdef';
const sizeBytes = 4 * MIB;
const sectors = sizeBytes / 512;
const seed = testSeed(t);

function diskOf(backing: MemoryBacking): BackingRange {
  return new BackingRange(backing, 0, backing.sizeBytes);
}

function entry(number: number, firstLba: number, lastLba: number): GptEntry {
  return { number, type: LINUX_FILESYSTEM_TYPE, uuid, label: `p${number}`, firstLba, lastLba };
}

function tableOn(disk: BackingRange, log = new WarningRecorder()): PartitionTable {
  const scan = scanPartitionTable(disk, log);
  if (scan.kind !== 'gpt') throw new Error(`the disk holds ${scan.kind}`);
  return scan.table;
}

/** Why the table of a disk is of no use. */
function whyUnusable(disk: BackingRange): string | undefined {
  const scan = scanPartitionTable(disk, new WarningRecorder());
  return scan.kind === 'unusable' ? scan.reason : undefined;
}

/** The entries that a power-on would find, as text. */
function found(disk: BackingRange): string {
  return tableOn(disk)
    .entries()
    .map(({ number, firstLba, lastLba }) => `${number}:${firstLba}-${lastLba}`)
    .join(' ');
}

async function setUp(): Promise<{ disk: BackingRange; table: PartitionTable }> {
  const disk = diskOf(new MemoryBacking(sizeBytes));
  const table = await createPartitionTable(disk);
  await table.add(entry(1, 4096, 5000));
  return { disk, table };
}

t.test('scanPartitionTable: nothing on a blank disk, nor on one of a single sector', async (t) => {
  const log = new WarningRecorder();
  t.strictSame(scanPartitionTable(diskOf(new MemoryBacking(sizeBytes)), log), { kind: 'none' });
  const tiny = new BackingRange(new MemoryBacking(4096), 0, 512);
  t.strictSame(scanPartitionTable(tiny, log), { kind: 'none' });
  t.strictSame(log.warnings, []);
});

t.test('createPartitionTable: what it writes is found again, empty', async (t) => {
  const disk = diskOf(new MemoryBacking(sizeBytes));
  const table = await createPartitionTable(disk);
  t.strictSame(table.entries(), []);
  t.equal(table.slots, 128);
  const log = new WarningRecorder();
  t.equal(tableOn(disk, log).diskUuid, table.diskUuid);
  t.strictSame(log.warnings, []);
});

t.test('createPartitionTable: ENOSPC where two tables leave no sector', async (t) => {
  const disk = new BackingRange(new MemoryBacking(64 * 1024), 0, 67 * 512);
  await t.rejects(createPartitionTable(disk), { code: 'ENOSPC' });
  await createPartitionTable(new BackingRange(new MemoryBacking(64 * 1024), 0, 68 * 512));
});

t.test(
  'scanPartitionTable: a damaged primary gives way to the backup, which stays alone',
  async (t) => {
    const { disk } = await setUp();
    disk.fill(512, 512, 0);
    const log = new WarningRecorder();
    const table = tableOn(disk, log);
    t.equal(found(disk), '1:4096-5000');
    t.match(log.warnings, [{ message: /primary GPT damaged/, fields: { damage: /no signature/ } }]);
    t.equal(
      disk.view(512, 512).findIndex((byte) => byte !== 0),
      -1,
      'a scan repairs nothing',
    );

    await table.add(entry(2, 6000, 6100));
    const after = new WarningRecorder();
    t.equal(tableOn(disk, after).entries().length, 2);
    t.strictSame(after.warnings, [], 'the edit made both copies whole');
  },
);

t.test(
  'scanPartitionTable: a damaged backup is a warning, and the next edit mends it',
  async (t) => {
    const { disk } = await setUp();
    disk.fill((sectors - 1) * 512, 512, 0);
    const log = new WarningRecorder();
    const table = tableOn(disk, log);
    t.match(log.warnings, [{ message: /backup GPT damaged/ }]);
    await table.remove(1);
    const after = new WarningRecorder();
    t.strictSame(tableOn(disk, after).entries(), []);
    t.strictSame(after.warnings, []);
  },
);

t.test('scanPartitionTable: a backup left behind by a power cut is a warning', async (t) => {
  const { disk, table } = await setUp();
  const old = Buffer.alloc(33 * 512);
  disk.read((sectors - 33) * 512, old);
  await table.add(entry(2, 6000, 6100));
  disk.write((sectors - 33) * 512, old);
  const log = new WarningRecorder();
  t.equal(tableOn(disk, log).entries().length, 2, 'the primary counts');
  t.match(log.warnings, [{ message: /differs from the primary/ }]);
});

t.test('scanPartitionTable: both copies damaged, or no protective MBR, is unusable', async (t) => {
  const { disk } = await setUp();
  disk.fill(0, 512, 0);
  t.match(whyUnusable(disk), /without its protective MBR/);

  const both = await setUp();
  both.disk.fill(512, 512, 0);
  both.disk.fill((sectors - 1) * 512, 512, 0);
  t.match(whyUnusable(both.disk), /both copies/);

  const dos = diskOf(new MemoryBacking(sizeBytes));
  dos.write(510, Buffer.from([0x55, 0xaa]));
  t.match(whyUnusable(dos), /MBR of another kind/);
});

t.test('scanPartitionTable: names the entry out of range, and the two that overlap', async (t) => {
  for (const [bad, reason] of [
    [[entry(2, 20, 40)], /entry 2 .* 20 to 40/],
    [[entry(2, 6000, sectors)], /entry 2 /],
    [[entry(2, 6000, 5999)], /entry 2 /],
    [[entry(2, 6000, 2 ** 63)], /sectors 6000 to 9223372036854776000, outside/],
    [[entry(2, 2 ** 63, 2 ** 63)], /entry 2 .* outside the usable 34 to/],
    [[entry(7, 4000, 4096)], /entries 7 and 1 overlap at sectors 4096 to 4096/],
    [[entry(7, 4500, 4600)], /entries 1 and 7 overlap at sectors 4500 to 4600/],
  ] as const) {
    const { disk } = await setUp();
    await plant(disk, bad);
    t.match(whyUnusable(disk), reason);
  }
  const { disk } = await setUp();
  await plant(disk, [entry(2, 5001, sectors - 34), entry(3, 34, 4095)]);
  t.equal(tableOn(disk).entries().length, 3, 'neighbours touch and do not overlap');
});

for (const [firstLba, lastLba, part] of [
  [0, 0, 'protective MBR at LBA 0'],
  [1, 1, 'primary header at LBA 1'],
  [33, 40, 'primary table at LBA 2'],
  [6000, sectors - 33, `backup table at LBA ${sectors - 33}`],
  [sectors - 1, sectors - 1, `backup header at LBA ${sectors - 1}`],
] as const) {
  t.test(`scanPartitionTable: an entry over the ${part} makes it unusable`, async (t) => {
    const { disk } = await setUp();
    const usable = { firstUsableLba: 0, lastUsableLba: sectors - 1 };
    await plant(disk, [], usable);
    t.equal(found(disk), '1:4096-5000', 'wide usable sectors do no harm by themselves');
    await plant(disk, [entry(2, firstLba, lastLba)], usable);
    const sectorsOf = `entry 2 spans sectors ${firstLba} to ${lastLba}`;
    t.equal(whyUnusable(disk), `a table that cannot be used (GPT ${sectorsOf}, over the ${part})`);
  });
}

t.test('scanPartitionTable: so does one where the next edit would mend the primary', async (t) => {
  const { disk } = await setUp();
  await plant(disk, [entry(2, 10, 20)], { firstUsableLba: 0 });
  disk.fill(512, 512, 0);
  t.match(whyUnusable(disk), /entry 2 .* over the primary table at LBA 2/);
});

t.test('add: an entry out of range is never written', async (t) => {
  const { disk, table } = await setUp();
  await t.rejects(table.add(entry(2, 1, 2)), { message: /usable sectors/ });
  t.equal(found(disk), '1:4096-5000');
});

/** Where the headers of a disk say that the parts of its table are, and why no edit may follow. */
const misplaced: readonly (readonly [string, (disk: BackingRange) => void, RegExp])[] = [
  ...(
    [
      [1, /backup header at LBA 1 lies over the primary header/],
      [2, /backup header at LBA 2 lies over the primary table/],
      [16, /backup header at LBA 16 lies over the primary table/],
      [31, /backup header at LBA 31 lies over the primary table/],
      [32, /backup header at LBA 32 lies over the primary table/],
      [33, /backup header at LBA 33 lies over the primary table/],
      [0, /backup header at LBA 0 lies over the protective MBR/],
      [5500, /backup header at LBA 5500 lies among the sectors of partitions/],
      [sectors, /backup header at LBA 8192 would lie outside the disk/],
      [2n ** 64n - 1n, /backup header at LBA 18446744073709552000 would lie outside/],
    ] as const
  ).map(
    ([alternate, problem]) =>
      [
        `an alternate LBA of ${alternate}`,
        (disk: BackingRange): void => {
          reseal(disk, 1, (header) => header.writeBigUInt64LE(BigInt(alternate), 32));
        },
        problem,
      ] as const,
  ),
  [
    'a backup with the table of the primary',
    (disk) => {
      reseal(disk, sectors - 1, (header) => header.writeBigUInt64LE(2n, 72));
    },
    /backup table at LBA 2 lies over the primary table at LBA 2/,
  ],
];

for (const [what, spoil, problem] of misplaced) {
  t.test(`edits: ${what} is refused, and not a byte changes`, async (t) => {
    const { disk } = await setUp();
    spoil(disk);
    const before = Buffer.alloc(sizeBytes);
    disk.read(0, before);
    const table = tableOn(disk);
    for (const edit of [table.remove(1), table.add(entry(2, 6000, 6100))]) {
      await t.rejects(edit, { code: 'EUCLEAN', message: /no room of its own/ });
      await t.rejects(edit, { message: problem });
    }
    t.ok(disk.backing.mapping.view(0, sizeBytes).equals(before));
    t.equal(found(disk), '1:4096-5000', 'the partitions are there to be read');
  });
}

t.test('edits: whatever place the backup names for the primary, it is LBA 1 again', async (t) => {
  const { disk } = await setUp();
  reseal(disk, sectors - 1, (header) => header.writeBigUInt64LE(2n ** 64n - 1n, 32));
  await tableOn(disk).add(entry(2, 6000, 6100));
  t.equal(found(disk), '1:4096-5000 2:6000-6100');
  t.match(readGptCopy(disk, sectors - 1), { otherHeaderLba: 1 });
});

for (const [name, spoil] of [
  ['both copies whole', () => {}],
  ['the primary damaged', (disk: BackingRange) => disk.fill(512, 512, 0)],
  ['the backup damaged', (disk: BackingRange) => disk.fill((sectors - 1) * 512, 512, 0)],
] as const) {
  t.test(`edits: a power cut at any store leaves old or new, with ${name}`, async (t) => {
    const media = new PowerCuts(seed);
    const disk = diskOf(media.backing);
    const made = await createPartitionTable(disk);
    await made.add(entry(1, 4096, 5000));
    spoil(disk);
    media.settle();

    const before = '1:4096-5000';
    const after = '1:4096-5000 2:6000-6100';
    const seen: string[] = [];
    media.onCut = (image) => {
      seen.push(found(image));
    };
    await tableOn(disk).add(entry(2, 6000, 6100));
    t.strictSame(
      seen.filter((text) => text !== before && text !== after),
      [],
      `${seen.length} cuts`,
    );
    t.ok(seen.includes(before) && seen.includes(after));
    t.equal(found(disk), after);
  });
}

/** A medium on which, at each persist, any part of what was stored since may be missing. */
class PowerCuts {
  readonly backing: MemoryBacking;
  onCut: ((image: BackingRange) => void) | undefined;
  #durable = Buffer.alloc(sizeBytes);
  readonly #random: SeededRandom;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.backing = new MemoryBacking(sizeBytes, {
      onPersist: () => {
        this.#cut();
        this.settle();
      },
    });
  }

  settle(): void {
    this.backing.mapping.read(0, this.#durable);
  }

  #cut(): void {
    if (this.onCut === undefined) return;
    for (const keep of [() => false, () => true, ...Array.from({ length: 6 }, () => this.#coin)]) {
      const image = new MemoryBacking(sizeBytes);
      image.mapping.write(0, this.#durable);
      for (let at = 0; at < sizeBytes; at += 512) {
        const sector = this.backing.mapping.view(at, 512);
        if (!sector.equals(this.#durable.subarray(at, at + 512)) && keep()) {
          image.mapping.write(at, sector);
        }
      }
      this.onCut(diskOf(image));
    }
  }

  readonly #coin = (): boolean => this.#random.below(2) === 0;
}

/** Writes entries, and which sectors are usable, into both copies, checked by nobody. */
async function plant(
  disk: BackingRange,
  entries: readonly GptEntry[],
  usable: Partial<Pick<GptCopy, 'firstUsableLba' | 'lastUsableLba'>> = {},
): Promise<void> {
  for (const lba of [1, sectors - 1]) {
    const copy = readGptCopy(disk, lba);
    if ('damage' in copy) throw new Error(copy.damage);
    for (const planted of entries) encodeEntry(copy.entries, planted);
    await writeGptCopy(disk, { ...copy, ...usable });
  }
}
