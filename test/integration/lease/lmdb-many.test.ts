/**
 * What a daemon may commit at once: after a reboot something of each lease, or the end of each
 * lease of a holder. Arguments of one call would overflow the stack from some 125,000 on.
 */
import t from 'tap';

import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { endOf, recordOf } from './records.js';

const MANY = 140_000;
const IDS = Array.from({ length: MANY }, (_, i) => `01J${String(i).padStart(23, '0')}`);
const LAST = IDS.at(-1) ?? '';

t.test('one commit of very many changes is kept', async (t) => {
  const directory = scratchDirectory(t);
  const store = LmdbStore.open(directory);
  const record = recordOf(LAST, 'nic0', 7);
  await store.commit([{ kind: 'put', record, deadlineMs: 5 }]);
  t.equal(store.fencingToken, 7);
  await store.commit([...IDS.map((id) => endOf(id, 9)), { kind: 'remove', id: LAST }]);
  t.match(store.tombstone(LAST), { endedMs: 9 });
  t.ok(store.isEmpty);
  await store.close();
});
