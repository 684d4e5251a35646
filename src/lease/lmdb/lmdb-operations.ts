import type { Database, RootDatabase } from 'lmdb';

import { decodeJson, encodeJson } from './kept-json.js';
import type { KeptOperation } from '../kept-operation.js';
import type { StoreChange } from '../lease-store.js';
import { LmdbWrites } from './lmdb-writes.js';
import { SUMMED } from './summed-bytes.js';
import type { SummedValue } from './summed-bytes.js';

/** The changes that an LMDB file keeps until they have ended. */
export class LmdbOperations {
  readonly #operations: Database<SummedValue, string>;

  constructor(root: RootDatabase<SummedValue, string>) {
    this.#operations = root.openDB<SummedValue, string>('operations', SUMMED);
  }

  /** Whether none is kept. */
  get isEmpty(): boolean {
    return this.#operations.getKeysCount({ limit: 1 }) === 0;
  }

  /** Ascending by id. @throws DaxdError EBADMSG. */
  *stored(): Generator<KeptOperation> {
    for (const { key, value } of this.#operations.getRange()) {
      yield decodeJson('operation', value, key);
    }
  }

  /** To be called within a transaction. */
  write(changes: readonly StoreChange[]): void {
    const writes = new LmdbWrites(this.#operations);
    for (const change of changes) {
      if (change.kind === 'operation')
        writes.put(change.operation.id, encodeJson(change.operation));
      else if (change.kind === 'operation-ended') writes.remove(change.id);
    }
  }
}
