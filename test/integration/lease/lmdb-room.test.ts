import { closeSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import type { StoreChange } from '../../../src/lease/lease-store.js';
import { growthBytes } from '../../../src/lease/lmdb/growth.js';
import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { FallocateMode, fallocate } from '../../../src/media/fallocate.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { endOf, recordOf } from './records.js';

const MIB = 2 ** 20;
const LEASES = 20_000;

function setUp(t: Test) {
  const directory = scratchDirectory(t);
  const path = join(directory, 'leases.mdb');
  const sizes = () => {
    const { size, blocks } = statSync(path);
    return { size, allocated: blocks * 512 };
  };
  return { directory, path, sizes, store: LmdbStore.open(directory) };
}

function idOf(index: number): string {
  return String(index).padStart(26, '0');
}

/** Ids from one end of the table to the other, far from each other. */
function scatteredId(index: number): string {
  return idOf((index * 7_919) % LEASES);
}

function all(changesOf: (id: string) => readonly StoreChange[]): StoreChange[] {
  return Array.from({ length: LEASES }, (_, i) => changesOf(idOf(i))).flat();
}

const put = (id: string): StoreChange => ({ kind: 'put', record: recordOf(id), deadlineMs: 1 });
const deadline = (id: string): StoreChange => ({ kind: 'deadline', id, deadlineMs: 7.5 });
const ends = (id: string): StoreChange[] => [{ kind: 'remove', id }, endOf(id, 1)];

t.test('room: very many changes reserve little more than the file takes', async (t) => {
  const { sizes, store } = setUp(t);
  const rounds = {
    leases: all((id) => [put(id)]),
    deadlines: all((id) => [deadline(id)]),
    ends: all(ends),
  };
  for (const [name, changes] of Object.entries(rounds)) {
    await store.commit(changes);
    const { size, allocated } = sizes();
    t.ok(allocated <= 3 * size, `${name}: ${allocated} bytes allocated for ${size}`);
  }
  await store.close();
  const { size, allocated } = sizes();
  t.ok(allocated - size <= 8 * MIB, `${allocated} bytes left for ${size}`);
  t.ok(allocated - size >= MIB, 'with room for the next start');
});

t.test('room: few changes never take more than was reserved for them', async (t) => {
  const { sizes, store } = setUp(t);
  await store.commit(all((id) => [put(id)]).filter((_, i) => i % 2 === 0));
  const most: Record<string, number> = {};
  const grow = async (name: string, changes: readonly StoreChange[]): Promise<void> => {
    const { size: before } = sizes();
    const bound = growthBytes(changes, { fileBytes: before, dropped: 0 });
    await store.commit(changes);
    const grown = sizes().size - before;
    most[name] = Math.max(most[name] ?? 0, grown / bound);
    if (grown > bound) t.fail(`${name}: grew by ${grown} bytes, and ${bound} were reserved`);
  };
  const long = 'x'.repeat(2_000);
  for (let i = 0; i < 400; i++) {
    // 1 at a time, and up to 50, over all of the table.
    const ids = Array.from({ length: i % 2 === 0 ? 1 : (i % 50) + 1 }, (_, k) =>
      scatteredId(i * 50 + k),
    );
    await grow('puts', ids.map(put));
    await grow(
      'long puts',
      ids.map((id) => ({ kind: 'put', record: recordOf(id, long), deadlineMs: 2 })),
    );
    await grow('deadlines', ids.map(deadline));
    if (i % 3 === 0) await grow('ends', ids.flatMap(ends));
  }
  t.pass(JSON.stringify(most));
  await store.close();
});

t.test('room: what another daemon reserved in excess is given back', async (t) => {
  const { directory, path, sizes, store } = setUp(t);
  await store.commit([put('a')]);
  await store.close();
  const fd = openSync(path, 'r+');
  fallocate({ fd, path, offset: sizes().size, length: 64 * MIB }, FallocateMode.KeepSize);
  closeSync(fd);
  t.ok(sizes().allocated > 64 * MIB);
  const again = LmdbStore.open(directory);
  const { size, allocated } = sizes();
  t.ok(allocated - size < 8 * MIB, `${allocated} bytes left for ${size}`);
  t.ok(allocated - size >= MIB, 'with room for a start');
  t.strictSame(
    [...again.stored()].map(({ record }) => record),
    [recordOf('a')],
  );
  await again.close();
});
