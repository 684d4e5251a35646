import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { EndedOperation } from '../../../src/lease/kept-operation.js';
import { REMEMBERED_MS } from '../../../src/lease/limits.js';
import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { endOf, recordOf } from './records.js';

function ids(store: LmdbStore): string[] {
  return [...store.stored()].map(({ record }) => record.terms.id);
}

/** Which of them a store knows the end of. */
function known(store: LmdbStore, names: readonly string[]): string {
  return names.filter((id) => store.tombstone(id) !== undefined).join('');
}

/** An operation that gave up at such a time. */
const ended = (id: string, endedMs: number): EndedOperation => ({
  id,
  partition: 'pmem0p1',
  media: { partition: 'guid' },
  inode: 12,
  generation: 1,
  path: 'file',
  change: { op: 'truncate', size: 5 },
  onConflict: 'wait',
  deadlineMs: 7,
  bootId: 'boot',
  startedMs: 1,
  startedWallMs: 2,
  outcome: { error: { code: 'deadline', detail: 'pinned', holders: ['a'] } },
  waitedMs: 3,
  endedMs,
});

t.test('a store: remembers ends, the newest, for a day', async (t) => {
  const directory = scratchDirectory(t);
  const names = 'abcdefgh'.split('');
  let store = LmdbStore.open(directory, 4);
  await Promise.all(names.slice(0, 2).map((id) => store.commit([endOf(id, 1)])));
  t.match(store.tombstone('a'), { terms: { id: 'a', client: 'nic0' }, state: 'released' });
  t.equal(store.tombstone('z'), undefined);
  t.equal(store.tombstone(''), undefined);
  for (const id of names.slice(2, 5)) await store.commit([endOf(id, 2)]);
  t.equal(known(store, names), 'cde', 'the first two came together, and went together');
  await store.close();

  store = LmdbStore.open(directory, 4);
  t.equal(known(store, names), 'cde', 'across a restart');
  await store.commit([endOf('f', 3)]);
  await store.commit([endOf('g', 4)]);
  t.equal(known(store, names), 'defg');
  await store.commit([endOf('h', 4 + REMEMBERED_MS - 1)]);
  t.equal(known(store, names), 'gh', 'older than a day');
  await store.close();

  store = LmdbStore.open(directory);
  t.equal(known(store, names), 'gh');
  t.strictSame(ids(store), [], 'an end is no lease');
  await store.close();

  store = LmdbStore.open(directory, 3);
  const key = { id: 'k', fingerprint: 'f', lease: 'i', grantedMs: 4 + REMEMBERED_MS };
  await store.commit([
    { kind: 'put', record: recordOf('i'), deadlineMs: 5 },
    { kind: 'key', key },
  ]);
  await store.close();
  store = LmdbStore.open(directory, 3);
  t.strictSame(store.grantOf('k'), key);
  t.equal(store.grantOf('none'), undefined);
  t.equal(known(store, names), 'h', 'keys and ends have one bound and one age');
  for (const id of names.slice(0, 3)) await store.commit([endOf(id, 5 + REMEMBERED_MS)]);
  t.equal(store.grantOf('k'), undefined);
  t.equal(known(store, names), 'abc');
  t.strictSame(ids(store), ['i'], 'its lease stays');
  await store.close();
});

t.test('a store: drops a bounded part of what is too much at once', async (t) => {
  const directory = scratchDirectory(t);
  const many = Array.from({ length: 200 }, (_, i) => String(i).padStart(3, '0'));
  let store = LmdbStore.open(directory);
  for (const id of many) await store.commit([endOf(id, 1)]);
  await store.close();
  store = LmdbStore.open(directory, 10);
  const count = (): number => many.filter((id) => store.tombstone(id) !== undefined).length;
  t.equal(count(), 200);
  const counts = [];
  for (let round = 0; round < 13; round++) {
    await store.commit([endOf(`z${round}`, 2)]);
    counts.push(count());
  }
  t.strictSame(counts.slice(0, 3), [182, 164, 146]);
  t.equal(counts.at(-1), 0, 'and comes down to the bound');
  t.ok(store.tombstone('z12') !== undefined);
  await store.close();
});

t.test('a store: a damaged end is refused alone, and dropped in its time', async (t) => {
  const directory = scratchDirectory(t);
  let store = LmdbStore.open(directory, 2);
  await store.commit([endOf('lost', 1)]);
  await store.commit([endOf('kept', 1)]);
  await store.close();
  const path = join(directory, 'leases.mdb');
  const bytes = readFileSync(path);
  // The end itself, and the round that says when it came.
  for (const text of ['"id":"lost"', '"ids":["lost"]']) {
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
      bytes.write(text.replace('lost', 'last'), at);
    }
  }
  writeFileSync(path, bytes);
  store = LmdbStore.open(directory, 2);
  t.throws(() => store.tombstone('lost'), { code: 'EBADMSG', message: /tombstone of lease lost/ });
  t.match(store.tombstone('kept'), { state: 'released' });
  await store.commit([endOf('next', 2)]);
  t.match(store.tombstone('next'), { state: 'released' });
  await store.close();
});

t.test('a store: remembers how operations ended, with what else it remembers', async (t) => {
  const directory = scratchDirectory(t);
  let store = LmdbStore.open(directory, 2);
  await store.commit([
    { kind: 'operation-ended', id: 'o' },
    { kind: 'outcome', operation: ended('o', 1) },
  ]);
  await store.close();
  store = LmdbStore.open(directory, 2);
  t.strictSame(store.outcomeOf('o'), ended('o', 1));
  t.equal(store.outcomeOf('a'), undefined);
  t.ok(store.isEmpty, 'that keeps no operation');
  await store.commit([endOf('a', 2)]);
  t.ok(store.outcomeOf('o'));
  await store.commit([{ kind: 'outcome', operation: ended('p', 3) }]);
  t.equal(store.outcomeOf('o'), undefined, 'the oldest is dropped first');
  t.equal(known(store, ['a']), 'a');
  await store.commit([endOf('b', 4), endOf('c', 4)]);
  t.equal(store.outcomeOf('p'), undefined);
  await store.close();
});
