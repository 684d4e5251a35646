import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import type { KeptOperation } from '../../../src/lease/kept-operation.js';
import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { requires } from '../../support/requires.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { mountSmallTmpfs } from '../media/mounts.js';
import { recordOf } from './records.js';

function operationOf(id: string, path = 'file'): KeptOperation {
  return {
    id,
    partition: 'pmem0p1',
    media: { partition: 'guid', filesystem: 'uuid', writtenSeconds: 1 },
    inode: 12,
    generation: 1,
    path,
    change: { op: 'zero-range', offset: 4096, length: 10, keepSize: true },
    onConflict: 'wait',
    deadlineMs: 1_000,
    bootId: 'boot-1',
    startedMs: 5.5,
    startedWallMs: 1_700_000_000_000,
    begun: false,
  };
}

t.test('operations: kept in the order of their ids, until they end', async (t) => {
  const directory = scratchDirectory(t);
  const store = LmdbStore.open(directory);
  await store.commit(
    ['b', 'c', 'a'].map((id) => ({ kind: 'operation', operation: operationOf(id) })),
  );
  await store.commit([
    { kind: 'operation', operation: { ...operationOf('b'), begun: true } },
    { kind: 'operation-ended', id: 'c' },
    { kind: 'operation-ended', id: 'never kept' },
  ]);
  await store.close();
  const again = LmdbStore.open(directory);
  t.strictSame([...again.operations()], [operationOf('a'), { ...operationOf('b'), begun: true }]);
  t.strictSame([...again.stored()], [], 'they are no leases');
  await again.close();
});

t.test('operations: a damaged one is refused as a damaged lease is', async (t) => {
  const directory = scratchDirectory(t);
  const store = LmdbStore.open(directory);
  await store.commit([{ kind: 'operation', operation: operationOf('a') }]);
  await store.close();
  const path = join(directory, 'leases.mdb');
  const bytes = readFileSync(path);
  const at = bytes.indexOf('zero-range');
  t.ok(at > 0);
  writeFileSync(path, bytes.fill('Z', at, at + 1));
  const again = LmdbStore.open(directory);
  t.throws(() => [...again.operations()], {
    code: 'EBADMSG',
    message: /operation a: its checksum/,
  });
  await again.close();
});

t.test('operations: on a full disk those that are there end', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  const store = LmdbStore.open(join(mountSmallTmpfs(t), 'state'));
  const kept = Array.from({ length: 20 }, (_, count) => String(count).padStart(6, '0'));
  for (const id of kept) {
    await store.commit([{ kind: 'operation', operation: operationOf(id, 'x'.repeat(1_000)) }]);
  }
  let failure: unknown;
  for (let count = 0; failure === undefined && count < 5_000; count++) {
    const record = recordOf(String(count).padStart(6, '0'), 'x'.repeat(1_000));
    try {
      await store.commit([{ kind: 'put', record, deadlineMs: 1 }]);
    } catch (error) {
      failure = error;
    }
  }
  t.match(failure, { code: 'ENOSPC', message: /make room/ });
  const ended = await Promise.allSettled(
    kept.slice(0, 10).map((id) => store.commit([{ kind: 'operation-ended', id }])),
  );
  for (const one of ended) t.equal(one.status, 'fulfilled');
  t.strictSame(
    [...store.operations()].map(({ id }) => id),
    kept.slice(10),
  );
  await store.close();
});
