import type { EndedOperation, KeptOperation } from '../../../src/lease/kept-operation.js';
import type {
  KeptKey,
  LeaseRecord,
  LeaseTombstone,
  StoreHeader,
} from '../../../src/lease/lease-record.js';
import type { LeaseStore, StoreChange, StoredLease } from '../../../src/lease/lease-store.js';
import type { MediaIdentity } from '../../../src/lease/media-identity.js';

/** What a store holds; it outlives the store, as a disk does. */
export interface MemoryDisk {
  header?: StoreHeader;
  fencingToken: number;
  readonly records: Map<string, string>;
  readonly deadlines: Map<string, number>;
  readonly tombstones: Map<string, string>;
  readonly keys: Map<string, KeptKey>;
  readonly operations: Map<string, KeptOperation>;
  readonly outcomes: Map<string, string>;
  readonly left: Map<string, MediaIdentity>;
}

export function emptyDisk(): MemoryDisk {
  return {
    fencingToken: 0,
    records: new Map(),
    deadlines: new Map(),
    tombstones: new Map(),
    keys: new Map(),
    operations: new Map(),
    outcomes: new Map(),
    left: new Map(),
  };
}

/** A store in memory: durable at once, or as a test has it. */
export class MemoryStore implements LeaseStore {
  readonly name = '(memory)';
  readonly id = 'memory';
  readonly disk: MemoryDisk;
  /** Held up before they are durable, when set. */
  gate: Promise<unknown> | undefined;
  /** Thrown instead of a commit, when set. */
  failure: Error | undefined;
  readonly commits: StoreChange[][] = [];

  constructor(disk: MemoryDisk = emptyDisk()) {
    this.disk = disk;
  }

  get isEmpty(): boolean {
    return this.disk.records.size + this.disk.operations.size === 0;
  }

  get header(): StoreHeader | undefined {
    return this.disk.header;
  }

  get fencingToken(): number {
    return this.disk.fencingToken;
  }

  left(partition: string): MediaIdentity | undefined {
    return this.disk.left.get(partition);
  }

  *stored(): Generator<StoredLease> {
    for (const [id, text] of [...this.disk.records].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const record = JSON.parse(text) as LeaseRecord;
      yield { record, deadlineMs: this.disk.deadlines.get(id) ?? NaN };
    }
  }

  operations(): KeptOperation[] {
    return [...this.disk.operations.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  async commit(changes: readonly StoreChange[]): Promise<void> {
    await this.gate;
    if (this.failure !== undefined) throw this.failure;
    this.commits.push([...changes]);
    for (const change of changes) this.#apply(change);
  }

  renewed(id: string, deadlineMs: number): void {
    if (this.disk.records.has(id)) this.disk.deadlines.set(id, deadlineMs);
  }

  tombstone(id: string): LeaseTombstone | undefined {
    const text = this.disk.tombstones.get(id);
    return text === undefined ? undefined : (JSON.parse(text) as LeaseTombstone);
  }

  grantOf(key: string): KeptKey | undefined {
    return this.disk.keys.get(key);
  }

  outcomeOf(operation: string): EndedOperation | undefined {
    const text = this.disk.outcomes.get(operation);
    return text === undefined ? undefined : (JSON.parse(text) as EndedOperation);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #apply(change: StoreChange): void {
    const { records, deadlines } = this.disk;
    if (change.kind === 'header') this.disk.header = change.header;
    else if (change.kind === 'tombstone') {
      const { tombstone } = change;
      this.disk.tombstones.set(tombstone.terms.id, JSON.stringify(tombstone));
    } else if (change.kind === 'key') {
      this.disk.keys.set(change.key.id, change.key);
    } else if (change.kind === 'operation') {
      this.disk.operations.set(change.operation.id, change.operation);
    } else if (change.kind === 'operation-ended') {
      this.disk.operations.delete(change.id);
    } else if (change.kind === 'outcome') {
      this.disk.outcomes.set(change.operation.id, JSON.stringify(change.operation));
    } else if (change.kind === 'left') {
      this.disk.left.set(change.partition, change.media);
    } else if (change.kind === 'remove') {
      records.delete(change.id);
      deadlines.delete(change.id);
    } else {
      const id = change.kind === 'put' ? change.record.terms.id : change.id;
      if (change.kind === 'put') {
        const { fencingToken } = change.record.terms;
        this.disk.fencingToken = Math.max(this.disk.fencingToken, fencingToken);
        records.set(id, JSON.stringify(change.record));
      }
      deadlines.set(id, change.deadlineMs);
    }
  }
}
