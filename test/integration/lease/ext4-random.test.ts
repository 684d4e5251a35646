import * as fc from 'fast-check';
import { setMaxListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import t from 'tap';

import { assert } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import { requires } from '../../support/requires.js';
import { releaseAll } from '../../unit/lease/set-up.js';
import { ask, setUpExt4 } from './ext4-set-up.js';
import type { Ext4SetUp } from './ext4-set-up.js';
import { testSeed, times } from '../../support/random-test.js';

const P = PAGE_SIZE;
const PAGES = 16;
const STEPS = 300;
const seed = testSeed(t);

const at = fc.integer({ min: 0, max: PAGES * P - 1 });
const size = fc.integer({ min: 1, max: 4 * P });
const step = fc.record({
  kind: fc.constantFrom('read', 'write', 'release', 'part', 'truncate', 'punch', 'store', 'grow'),
  offset: at,
  length: size,
  which: fc.nat(),
  turns: fc.nat(3),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** What may go wrong without anything being wrong. */
const FINE = new Set(['recall-conflict', 'EINVAL', 'EBUSY', 'cancelled']);

async function settled(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof DaxdError) || !FINE.has(error.code)) throw error;
  }
}

/** Starts one step; what it starts may wait for long. */
async function start({ fs, leases }: Ext4SetUp, one: Step, abort: AbortSignal): Promise<void> {
  const { offset, length } = one;
  const inode = fs.lookup('file');
  const held = leases.list({}).leases;
  const lease = held[one.which % Math.max(1, held.length)];
  switch (one.kind) {
    case 'read':
    case 'write':
      return settled(leases.acquire(ask({ offset, length, access: one.kind }), abort));
    case 'release':
      if (lease !== undefined) await leases.release(lease.id);
      return;
    case 'part':
      if (lease !== undefined) await leases.release(lease.id, [{ offset, length }]);
      return;
    case 'truncate':
      return settled(fs.truncate(inode, offset, { signal: abort }));
    case 'punch':
      return settled(fs.punchHole(inode, offset, length, { signal: abort }));
    case 'store':
      return settled(fs.write(inode, offset, Buffer.alloc(length, one.which)));
    case 'grow':
      return settled(fs.truncate(inode, PAGES * P, { signal: abort }));
  }
}

/** Every page of every lease lies where the file has it, written, and is pinned once a lease. */
function check({ fs, leases, backing, pinnedPages }: Ext4SetUp): void {
  const extents = fs.extents(fs.lookup('file')).filter(({ unwritten }) => !unwritten);
  const pinned = new Set<number>();
  for (const lease of leases.list({ limit: 1000 }).leases) {
    for (const run of lease.runs) {
      for (let page = 0; page < run.length; page += P) {
        const offset = run.offset + page;
        const extent = extents.find(
          (e) => e.fileOffset <= offset && offset < e.fileOffset + e.length,
        );
        assert(extent !== undefined, `page ${offset / P} of ${lease.id} is still the file's`);
        const device = fs.range.start + extent.mediaOffset + (offset - extent.fileOffset);
        assert(device === run.deviceOffset + page, `page ${offset / P} of ${lease.id} stays`);
        pinned.add(device);
      }
    }
  }
  assert(pinnedPages() === pinned.size, `${pinned.size} of ${backing.path}'s pages are pinned`);
}

t.test(
  'random leases and changes at once: no leased page is freed, moved or forgotten',
  async (t) => {
    if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
    t.comment(`seed ${seed}`);
    const set = await setUpExt4(t, { file: Buffer.alloc(PAGES * P, 1) });
    const abort = new AbortController();
    setMaxListeners(0, abort.signal);
    const started: Promise<void>[] = [];
    for (const one of fc.sample(step, { seed, numRuns: times(STEPS) })) {
      started.push(start(set, one, abort.signal));
      for (let turn = 0; turn < one.turns; turn++) await setImmediate();
      check(set);
    }
    abort.abort();
    await Promise.all(started);
    check(set);
    t.ok(set.leases.counters.requests.granted > 0, JSON.stringify(set.leases.counters.requests));
    await releaseAll(set.leases);
    t.equal(set.pinnedPages(), 0);
    t.equal(set.waiters.size, 0);
    t.strictSame([...set.layouts.pending], []);
    t.match(await set.judge(), { status: 0 });
  },
);
