import { join } from 'node:path';

import { open } from 'lmdb';
import t from 'tap';

import type { StoreChange } from '../../../src/lease/lease-store.js';
import { grantedDeadlineMs } from '../../../src/lease/lease-terms.js';
import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { recordOf } from './records.js';

function put(id: string, deadlineMs: number): StoreChange {
  return { kind: 'put', record: recordOf(id), deadlineMs };
}

function note(id: string, deadlineMs: number): StoreChange {
  return { kind: 'deadline', id, deadlineMs };
}

async function keysIn(path: string, name: string): Promise<string[]> {
  const root = open({ path, noSubdir: true });
  const keys = [...root.openDB<Buffer, string>(name, { encoding: 'binary' }).getKeys()];
  await root.close();
  return keys;
}

t.test('a store: the deadline noted last is the one that counts', async (t) => {
  const directory = scratchDirectory(t);
  const store = LmdbStore.open(directory);
  await store.commit(['a', 'b', 'c', 'd', 'e'].map((id) => put(id, 1)));
  await store.commit([note('b', 20.25), note('c', 30), note('d', 40)]);
  await store.commit([note('b', 10), { kind: 'remove', id: 'd' }]);
  await store.commit([put('c', 2), put('f', 60), note('f', 61)]);
  const kept = [...store.stored()].map(({ record, deadlineMs }) => [record.terms.id, deadlineMs]);
  t.strictSame(kept, [
    ['a', 1],
    ['b', 10],
    ['c', 2],
    ['e', 1],
    ['f', 61],
  ]);
  await store.close();
});

t.test('a store: a deadline stands apart only where it is not the one of the grant', async (t) => {
  const directory = scratchDirectory(t);
  const granted = grantedDeadlineMs(recordOf('a').terms);
  const rows = (): Promise<string[]> => keysIn(join(directory, 'leases.mdb'), 'deadlines');
  const store = LmdbStore.open(directory);
  await store.commit(['a', 'b', 'c'].map((id) => put(id, granted)));
  await store.commit([note('b', granted + 1), note('c', granted + 1)]);
  await store.commit([put('c', granted)]);
  await store.close();
  t.strictSame(await rows(), ['b', 'c']);

  const again = LmdbStore.open(directory);
  t.strictSame(
    [...again.stored()].map(({ deadlineMs }) => deadlineMs - granted),
    [0, 1, 0],
  );
  await again.commit(['a', 'b'].map((id) => ({ kind: 'remove', id })));
  await again.close();
  t.strictSame(await rows(), ['c']);
});

t.test('a store: a deadline without its lease is refused', async (t) => {
  const directory = scratchDirectory(t);
  const store = LmdbStore.open(directory);
  await store.commit([put('a', 1), note('z', 2)]);
  t.throws(() => [...store.stored()], { code: 'EBADMSG', message: /deadline of lease z/ });
  await store.close();
});

t.test('a store: what a lease gave back stands behind it, until it is removed', async (t) => {
  const directory = scratchDirectory(t);
  const part = '01J0000000000000000000000A:8192';
  const ids = ['01J0000000000000000000000A', part, '01J0000000000000000000000B'];
  const store = LmdbStore.open(directory);
  await store.commit(ids.map((id) => put(id, id === part ? 5 : 7)));
  await store.close();
  const again = LmdbStore.open(directory);
  t.strictSame(
    [...again.stored()].map(({ record, deadlineMs }) => [record.terms.id, deadlineMs]),
    ids.map((id) => [id, id === part ? 5 : 7]),
  );
  await again.commit([{ kind: 'remove', id: part }]);
  await again.close();
  t.strictSame(
    await keysIn(join(directory, 'leases.mdb'), 'leases'),
    ids.filter((id) => id !== part),
  );
});
