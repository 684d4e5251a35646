import { EventEmitter, once } from 'node:events';

import type { Test } from 'tap';

import { KeptOperations } from '../../../src/daemon/kept-operations.js';
import { Operations } from '../../../src/daemon/operations.js';
import type { ChangedMount } from '../../../src/daemon/resumed-operation.js';
import type { ChangeOptions } from '../../../src/http/file-change.js';
import type { AskedOperation, KeptChange } from '../../../src/http/control.js';
import type { LayoutChanged } from '../../../src/http/schemas/file.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { SortableIds } from '../../../src/lib/sortable-id.js';
import { emptyDisk, MemoryStore } from '../lease/memory-store.js';
import type { MemoryDisk } from '../lease/memory-store.js';
import { HandClock } from '../lease/set-up.js';
import { ToyChange } from './toy-change.js';

export const ID = '01J00000000000000000000001';
export const NEXT_ID = '01J00000000000000000000002';
export const MEDIA = { partition: 'guid', filesystem: 'uuid', writtenSeconds: 1 };
export const ASKED: AskedOperation = {
  partition: 'pmem0p1',
  inode: 12,
  path: 'file',
  change: { op: 'collapse-range', offset: 4096, length: 4096 },
  onConflict: 'wait',
  deadlineMs: 60_000,
};
export const RESULT = { size: 5, waited_ms: 1, freed_bytes: 4096, quarantined_bytes: 0 };
export const never: AbortSignal = new AbortController().signal;

/** A mount whose changes note how they are run, and end when the test says so. */
export class ToyMount implements ChangedMount {
  readonly partition = { name: 'pmem0p1' };
  readonly leaseTarget = { media: MEDIA };
  readonly calls: unknown[][] = [];
  readonly options: ChangeOptions[] = [];
  readonly ends = new EventEmitter();
  generation = 7;
  readonly fs: ChangedMount['fs'];

  constructor({ readOnly = false } = {}) {
    const change = async (...call: unknown[]) => {
      const options = call.pop() as ChangeOptions;
      this.calls.push(call);
      this.options.push(options);
      await once(this.ends, 'end', { signal: options.signal }).catch(() => {
        options.signal.throwIfAborted();
      });
      await options.onBegin?.();
      return { waitedMs: 1, freedBytes: 4096, quarantinedBytes: 0 };
    };
    this.fs = {
      readOnly,
      fileOf: () => ({ generation: this.generation }),
      stat: () => {
        throw new DaxdError('ENOENT', 'nobody looks in this test');
      },
      truncate: async (...call) => change('truncate', ...call),
      punchHole: async (...call) => change('punchHole', ...call),
      zeroRange: async (...call) => change('zeroRange', ...call),
      collapseRange: async (...call) => change('collapseRange', ...call),
      insertRange: async (...call) => change('insertRange', ...call),
      fallocate: async (...call) => change('fallocate', ...call),
    };
  }
}

/** A daemon on a disk, as far as its operations go. */
interface ToyDaemon {
  readonly disk: MemoryDisk;
  readonly clock: HandClock;
  readonly store: MemoryStore;
  readonly mount: ToyMount;
  readonly operations: Operations;
  readonly kept: KeptOperations;
}

/** Starts one on a disk, which may be that of an earlier one. */
export function setUp(
  t: Test,
  disk: MemoryDisk = emptyDisk(),
  clock: HandClock = new HandClock(),
  bootId = 'boot-1',
): ToyDaemon {
  const store = new MemoryStore(disk);
  const mount = new ToyMount();
  const operations = new Operations({
    clock,
    log: silentLogger,
    finishedMax: 10,
    store,
    blockedBy: () => ['a lease'],
    recalls: () => [],
    acknowledgements: () => [],
    onBlocked: () => {},
    onUnblocked: () => {},
    events: { push: () => {} },
    onFatal: (error) => t.fail(error.message),
  });
  const kept = new KeptOperations({
    store,
    operations,
    mounts: {
      identify: (name) => (name === 'pmem0p1' ? MEDIA : undefined),
      mountOf: () => mount,
    },
    leases: { revocation: { revokeFor: async () => [] } },
    ids: new SortableIds(() => clock.wallMs()),
    clock,
    bootId,
    log: silentLogger,
  });
  return { disk, clock, store, mount, operations, kept };
}

/** A change that waits, and how its work ends. */
interface Begun {
  readonly durable: KeptChange;
  readonly work: Promise<LayoutChanged>;
  readonly change: ToyChange;
  readonly end: () => void;
  readonly cancel: (reason: Error) => void;
  readonly keep: () => ReturnType<KeptChange['keep']>;
}

/** Has a change begin to wait. */
export function begin({ kept, operations }: ToyDaemon, asked: object = {}, id = ID): Begun {
  const ends = new EventEmitter();
  const cancel = (reason: Error): void => {
    ends.emit('error', reason);
  };
  const durable = kept.keptChange({ ...ASKED, ...asked });
  const changing = once(ends, 'end').then((): LayoutChanged => RESULT);
  const work = durable.until(changing);
  work.catch(() => {});
  const change = new ToyChange(id);
  change.waited = 3;
  operations.track('pmem0p1', change);
  return {
    durable,
    work,
    change,
    end: () => {
      ends.emit('end');
    },
    cancel,
    keep: async () => durable.keep(change, work, cancel),
  };
}
