/** Grants and removes leases in a store until it is killed; prints each change once it is durable. */
import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { recordOf } from './records.js';

const store = LmdbStore.open(process.argv[2] ?? '');
const WRITERS = 16;

async function write(writer: number): Promise<void> {
  for (let count = 0; ; count++) {
    const id = `${String(count).padStart(6, '0')}-${writer}`;
    await store.commit([{ kind: 'put', record: recordOf(id), deadlineMs: count }]);
    process.stdout.write(`+${id}\n`);
    if (count % 3 === 0) continue;
    await store.commit([{ kind: 'remove', id }]);
    process.stdout.write(`-${id}\n`);
  }
}

await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
