import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { attachBacking } from '../../../src/daemon/attach.js';
import type { AttachPorts } from '../../../src/daemon/attach.js';
import { systemClock } from '../../../src/lib/clock.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { MemoryBacking } from '../../../src/media/memory-backing.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import { fsck } from '../../support/ext4-image.js';
import { requires } from '../../support/requires.js';
import { scratch } from './set-up.js';

const SIZE = 24 * MIB;
const INIT = { required: true, mode: 'fsdax', map: 'dev', alignBytes: 2 * MIB } as const;
const ON_FIRST_START = { ...INIT, required: false };

function ports(warnings: string[] = []): AttachPorts {
  const log = { ...silentLogger, warn: (_: unknown, message: string) => warnings.push(message) };
  const clock = systemClock;
  return {
    log,
    clock,
    memremap: new Memremap({ devPagemapOps: true }),
    waiters: new PageWaiters(clock),
  };
}

/** What the media hold before each persist of an initialisation, and after it. */
async function cuts(): Promise<Buffer[]> {
  const states: Buffer[] = [];
  const backing = new MemoryBacking(SIZE, {
    onPersist: () => {
      states.push(bytesOf(backing));
    },
  });
  const pmem = await attachBacking(backing, { init: INIT, forceRaw: false }, ports());
  await pmem.detach();
  return states;
}

function bytesOf(backing: MemoryBacking): Buffer {
  const bytes = Buffer.alloc(SIZE);
  backing.mapping.read(0, bytes);
  return bytes;
}

function backingOf(bytes: Buffer): MemoryBacking {
  const backing = new MemoryBacking(SIZE);
  backing.mapping.write(0, bytes);
  return backing;
}

t.test('--init that was cut short anywhere is begun anew by the next one', async (t) => {
  if (!requires(t, { commands: ['e2fsck'] })) return;
  const states = await cuts();
  // The last one is whole but for the mark, which is gone from the map already.
  const unfinished = states.slice(0, -1);
  t.ok(unfinished.length > 10, `${unfinished.length} cuts`);
  const image = join(scratch(t), 'image');
  for (const [i, bytes] of unfinished.entries()) {
    const init = i % 2 === 0 ? INIT : ON_FIRST_START;
    const backing = backingOf(bytes);
    const pmem = await attachBacking(backing, { init, forceRaw: false }, ports());
    const [partition, ...others] = pmem.disk.partitions;
    t.strictSame(others, [], `cut ${i}`);
    const { start, length } = partition?.range ?? { start: 0, length: 0 };
    await pmem.detach();
    const made = bytesOf(backing);
    t.ok(
      made.subarray(0, 4096).every((byte) => byte === 0),
      'no mark is left',
    );
    writeFileSync(image, made.subarray(start, start + length));
    t.match(fsck(image), { status: 0 }, `cut ${i}`);
  }
});

t.test('without --init media that were cut are said to be so, and stay as they are', async (t) => {
  const state = (await cuts())[5];
  t.ok(state !== undefined);
  if (state === undefined) return;
  const backing = backingOf(state);
  const warnings: string[] = [];
  const pmem = await attachBacking(backing, { init: undefined, forceRaw: false }, ports(warnings));
  await pmem.detach();
  t.match(warnings.join('\n'), 'an --init was cut short here: give it again');
  t.ok(bytesOf(backing).equals(state));
});
