/** A store on a disk that is, or becomes, full. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { commitInParts } from '../../../src/lease/commit-in-parts.js';
import type { StoreChange } from '../../../src/lease/lease-store.js';
import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { requires } from '../../support/requires.js';
import { fillDisk, mountSmallTmpfs } from '../media/mounts.js';
import { endOf, recordOf } from './records.js';

const HEADER = { media: 'namespace', bootId: 'boot', startsMs: [1, 2] };

function ids(store: LmdbStore): string[] {
  return [...store.stored()].map(({ record }) => record.terms.id);
}

/** Puts leases until the disk is full, and gives those that it took. */
async function fillUp(t: Test, store: LmdbStore): Promise<string[]> {
  const kept: string[] = [];
  let failure: unknown;
  for (let count = 0; failure === undefined && count < 5_000; count++) {
    const id = String(count).padStart(6, '0');
    try {
      await store.commit([large(id)]);
      kept.push(id);
    } catch (error) {
      failure = error;
    }
  }
  t.match(failure, { code: 'ENOSPC', message: /make room/ });
  t.ok(failure instanceof DaxdError);
  t.ok(kept.length > 50, `${kept.length} fitted`);
  return kept;
}

function large(id: string): StoreChange {
  return { kind: 'put', record: recordOf(id, 'x'.repeat(2_000)), deadlineMs: 1 };
}

t.test('a store: on a disk that is full from the start there is none', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  const disk = mountSmallTmpfs(t);
  const ballast = join(disk, 'ballast');
  fillDisk(ballast);
  const directory = join(disk, 'leases');
  mkdirSync(directory);
  t.throws(() => LmdbStore.open(directory), { code: 'ENOSPC', message: /make room on its disk/ });
  rmSync(ballast);
  const store = LmdbStore.open(directory);
  await store.commit([{ kind: 'header', header: HEADER }]);
  await store.close();
  fillDisk(ballast);
  const again = LmdbStore.open(directory);
  t.match(again.header, HEADER, 'one that there is opens on a full disk');
  await again.close();
});

t.test('a store: a full disk refuses grants, and has room for their ends', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  const disk = mountSmallTmpfs(t);
  const directory = join(disk, 'state');
  const store = LmdbStore.open(directory);
  const kept = await fillUp(t, store);
  // Commits of LMDB that fail would damage the memory of the process: it never hears of these.
  for (let i = 0; i < 200; i++) {
    await t.rejects(store.commit([large('zzz')]), { code: 'ENOSPC', message: /make room/ });
  }
  // One that has ended, and waits for its blocks to be freed, takes the place of what it was.
  const [first = ''] = kept;
  const record = { ...recordOf(first, 'x'.repeat(2_000)), ended: true };
  await store.commit([{ kind: 'put', record, deadlineMs: 1 }]);
  // A grant and releases at once: the releases are not lost with it.
  const [grant, ...removals] = await Promise.allSettled([
    store.commit([large('zzz')]),
    ...kept.slice(0, 30).map((id) => store.commit([{ kind: 'remove', id }, endOf(id, 1)])),
  ]);
  t.equal(grant.status, 'rejected');
  for (const removal of removals) t.equal(removal.status, 'fulfilled');
  await store.commit([{ kind: 'header', header: HEADER }]);
  execFileSync('mount', ['-o', 'remount,size=4m', disk]);
  await store.commit([large('zzz')]);
  await store.close();
  const again = LmdbStore.open(directory);
  t.strictSame(ids(again), [...kept.slice(30), 'zzz']);
  t.match(again.tombstone('000000'), { state: 'released' });
  await again.close();
});

t.test('a store: a disk that others fill to the brim has room for ends all the same', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  const disk = mountSmallTmpfs(t);
  const store = LmdbStore.open(join(disk, 'state'));
  const kept = await fillUp(t, store);
  t.throws(
    () => {
      writeFileSync(join(disk, 'filler'), Buffer.alloc(4 * 2 ** 20));
    },
    { code: 'ENOSPC' },
  );
  for (const id of kept.slice(0, 30)) {
    await store.commit([{ kind: 'remove', id }, endOf(id, 1)]);
  }
  t.strictSame(ids(store), kept.slice(30));
  t.match(store.tombstone('000000'), { state: 'released' });
  await store.close();
});

/** What is left of a lease after the release of every other page: its record is longer than before. */
function less(id: string, ranges: number): StoreChange {
  const record = recordOf(id, 'x'.repeat(2_000));
  const left = Array.from({ length: ranges }, (_, index) => ({
    offset: index * 8_192,
    deviceOffset: index * 8_192,
    length: 4_096,
  }));
  const holding = { ranges: left.map(({ offset, length }) => ({ offset, length })), runs: left };
  return { kind: 'put', record: { ...record, holding }, deadlineMs: 1, isLess: true };
}

t.test('a store: leases become smaller on a full disk, for as long as one likes', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  const disk = mountSmallTmpfs(t);
  const directory = join(disk, 'state');
  const store = LmdbStore.open(directory);
  const kept = await fillUp(t, store);
  t.throws(
    () => {
      writeFileSync(join(disk, 'filler'), Buffer.alloc(4 * 2 ** 20));
    },
    { code: 'ENOSPC' },
  );
  for (let round = 1; round <= 40; round++) {
    const [grant, ...releases] = await Promise.allSettled([
      store.commit([large('zzz')]),
      ...kept.slice(0, 8).map((id) => store.commit([less(id, round)])),
      store.commit([{ kind: 'deadline', id: kept[9] ?? '', deadlineMs: round }]),
    ]);
    t.match(grant, { status: 'rejected', reason: { code: 'ENOSPC' } });
    const failed = releases.filter(({ status }) => status === 'rejected');
    t.strictSame(failed, [], `round ${round}`);
  }
  for (const id of kept.slice(20)) await store.commit([{ kind: 'remove', id }, endOf(id, 1)]);
  await store.close();
  const again = LmdbStore.open(directory);
  const [first] = [...again.stored()];
  t.match(first?.record.holding, { ranges: { length: 40 } });
  t.strictSame(ids(again), kept.slice(0, 20));
  await again.close();
});

function idOf(index: number): string {
  return String(index).padStart(26, '0');
}

function put(id: string): StoreChange {
  return { kind: 'put', record: recordOf(id), deadlineMs: 1 };
}

t.test(
  'a store: very many leases end on a full disk, whatever is remembered of them',
  async (t) => {
    if (!requires(t, { commands: ['mount', 'mkfs.ext4'], root: true })) return;
    const COUNT = 30_000;
    const disk = mountSmallTmpfs(t, '64m');
    const directory = join(disk, 'state');
    const store = LmdbStore.open(directory);
    const all = Array.from({ length: COUNT }, (_, index) => idOf(index));
    await store.commit(all.map(put));
    fillDisk(join(disk, 'filler'));
    // Failed writes of LMDB would be told by it, and damage the memory of the process.
    for (let from = 0; from < COUNT / 2; from += 7) {
      const ids = all.slice(from, Math.min(from + 7, COUNT / 2));
      await Promise.all(ids.map((id) => store.commit([{ kind: 'remove', id }, endOf(id, 1)])));
    }
    const rest = all.slice(COUNT / 2);
    const deadlines = rest.map((id): StoreChange => ({ kind: 'deadline', id, deadlineMs: 7 }));
    await commitInParts(store, deadlines);
    await Promise.all(
      rest.slice(1).map((id) => store.commit([{ kind: 'remove', id }, endOf(id, 1)])),
    );
    await store.close();
    const again = LmdbStore.open(directory);
    t.match([...again.stored()], [{ record: { terms: { id: rest[0] } }, deadlineMs: 7 }]);
    await again.close();
  },
);
