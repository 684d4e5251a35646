/** Renewals that a store was told of in passing, and that no commit has told it since. */
import { appendFileSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { StoreChange } from '../../../src/lease/lease-store.js';
import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { recordOf } from './records.js';

const header: StoreChange = {
  kind: 'header',
  header: { media: 'namespace', bootId: 'boot', startsMs: [1] },
};

function deadlines(store: LmdbStore): (readonly [string, number, boolean])[] {
  return [...store.stored()].map(({ record, deadlineMs, isRenewed }) => [
    record.terms.id,
    deadlineMs,
    isRenewed ?? false,
  ]);
}

t.test('renewals: are there after the process, until a start took them in', async (t) => {
  const directory = scratchDirectory(t);
  const file = join(directory, 'leases.renewed');
  const store = LmdbStore.open(directory);
  const puts = ['a', 'b', 'c', 'd'].map((id): StoreChange => ({
    kind: 'put',
    record: recordOf(id),
    deadlineMs: 5,
  }));
  await store.commit([header, ...puts]);
  store.renewed('a', 7.25);
  store.renewed('b', 8);
  store.renewed('b', 9);
  store.renewed('c', 4);
  store.renewed('d', 6);
  await store.commit([{ kind: 'deadline', id: 'd', deadlineMs: 10 }]);
  store.renewed('gone', 8);
  t.ok(readFileSync(file, 'utf8').includes('a 7.25;'), 'nothing is waited for');
  t.equal(statSync(file).mode & 0o777, 0o600);
  await store.close();
  // Cut off, as by a full disk.
  appendFileSync(file, '\na 99');

  const again = LmdbStore.open(directory);
  t.strictSame(deadlines(again), [
    ['a', 7.25, true],
    ['b', 9, true],
    ['c', 5, false],
    ['d', 10, false],
  ]);
  again.renewed('c', 11);
  await again.close();
  const third = LmdbStore.open(directory);
  t.strictSame(deadlines(third)[2], ['c', 11, true], 'behind what was cut off');
  await third.commit([header, { kind: 'deadline', id: 'a', deadlineMs: 7.25 }]);
  t.equal(statSync(file).size, 0);
  await third.close();
  const last = LmdbStore.open(directory);
  t.strictSame(deadlines(last)[0], ['a', 7.25, false]);
  t.strictSame(deadlines(last)[1], ['b', 5, false]);
  await last.close();
});

t.test('renewals: the file does not grow for ever', async (t) => {
  const directory = scratchDirectory(t);
  const file = join(directory, 'leases.renewed');
  const store = LmdbStore.open(directory);
  await store.commit([header, { kind: 'put', record: recordOf('a'), deadlineMs: 5 }]);
  for (let at = 1; at <= 200_000; at++) store.renewed('a', at);
  t.ok(statSync(file).size > 1024 * 1024);
  await store.commit([{ kind: 'deadline', id: 'a', deadlineMs: 199_999 }]);
  t.equal(readFileSync(file, 'utf8'), '\na 200000;');
  store.renewed('a', 200_001);
  await store.close();
  const again = LmdbStore.open(directory);
  t.strictSame(deadlines(again), [['a', 200_001, true]]);
  await again.commit([{ kind: 'remove', id: 'a' }]);
  t.equal(statSync(file).size, 0);
  await again.close();
});
