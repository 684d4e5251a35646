import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { attachBacking } from '../../../src/daemon/attach.js';
import type { AttachPorts } from '../../../src/daemon/attach.js';
import { assert } from '../../../src/lib/assert.js';
import { systemClock } from '../../../src/lib/clock.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import { bytesOf } from '../../support/backing-bytes.js';
import { fsck } from '../../support/ext4-image.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { requires } from '../../support/requires.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';

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
  const image = join(temporaryDirectory(t), 'image');
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

t.test('without --init media that were cut are refused, or looked at, and stay', async (t) => {
  const states = await cuts();
  const path = join(temporaryDirectory(t), 'image');
  // The last one but one has the filesystem, and could be stored to.
  for (const state of [states.at(5), states.at(-2)]) {
    assert(state !== undefined, 'there are many cuts');
    for (const config of [
      { init: undefined, forceRaw: false },
      { init: undefined, forceRaw: true },
      { init: ON_FIRST_START, forceRaw: true },
    ]) {
      const backing = backingOf(state);
      await t.rejects(attachBacking(backing, config, ports()), {
        code: 'EUCLEAN',
        message: /was cut short: give --init to begin it anew, or --read-only/,
      });
      t.ok(bytesOf(backing).equals(state));
    }
    writeFileSync(path, state);
    const log = silentLogger;
    const looked = await openBacking(path, { readOnly: true, log });
    const warnings: string[] = [];
    const pmem = await attachBacking(looked, { init: undefined, forceRaw: false }, ports(warnings));
    await pmem.detach();
    t.match(warnings.join('\n'), 'an --init was cut short here: give it again');
  }
});

t.test('--init --mode raw takes media for blank whose --init was cut short', async (t) => {
  for (const state of (await cuts()).slice(0, -1)) {
    const backing = backingOf(state);
    const init = { ...INIT, mode: 'raw' } as const;
    const pmem = await attachBacking(backing, { init, forceRaw: false }, ports());
    t.match(pmem.namespace, { mode: 'raw' });
    t.equal(pmem.disk.partitions.length, 1);
    await pmem.detach();
    t.equal(bytesOf(backing).indexOf('daxd --init was cut short'), -1, 'no mark is left');
  }
});
