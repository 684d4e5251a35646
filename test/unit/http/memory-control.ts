import type { Control, KeptChange, MountedFiles } from '../../../src/http/control.js';
import type { Device } from '../../../src/http/schemas/device.js';
import type { Operation } from '../../../src/http/schemas/operation.js';
import type { Partition } from '../../../src/http/schemas/partition.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { setUpLeases } from '../lease/set-up.js';
import { MemoryFiles } from './memory-files.js';

const DEVICE: Device = {
  backing: {
    path: '/x/pmem0.img',
    kind: 'file',
    size: 268435456,
    align: 4096,
    persistence: 'msync',
    sparse: false,
    read_only: false,
  },
  namespace: {
    mode: 'fsdax',
    map: 'dev',
    uuid: '2500be98-0529-4248-a91d-331db61bd1d3',
    data_offset: 6291456,
    npfns: 64000,
    align: 2097152,
    start_pad: 0,
    end_trunc: 0,
    info_block_version: '1.4',
  },
  pagemap: { type: 'fsdax', pages: 64000, pinned_pages: 0, managed_users: 1 },
  disk: { name: 'pmem0', size: 262144000, logical_block_size: 512 },
  attach: [
    { step: 'pagemap', ok: true },
    { step: 'disk', ok: false, errno: 'EIO' },
  ],
};

const PARTITION: Partition = {
  name: 'pmem0p1',
  number: 1,
  label: 'data',
  uuid: 'b1f1c2d3-0000-4000-8000-000000000001',
  type: '0fc63daf-8483-4772-8e79-3d69d8477de4',
  start: 1048576,
  size: 67108864,
  dax: { supported: true },
  filesystem: null,
};

const OPERATION: Operation = {
  id: '01J00000000000000000000001',
  op: 'truncate',
  done: false,
  state: 'waiting',
  partition: 'pmem0p1',
  inode: 13,
  path: 'big.txt',
  offset: 0,
  end: null,
  started: '2026-01-01T00:00:00.000Z',
  waited_ms: 12.5,
  blocked_by: ['01J00000000000000000000002'],
  acknowledged: [],
};

/** A daemon of one mounted partition in memory, with real leases on real pages. */
export class MemoryControl implements Control {
  draining = false;
  readonly fs = new MemoryFiles();
  readonly calls: unknown[][] = [];
  pinned = 0;
  reasons: string[] = [];
  failure: Error | undefined;
  readonly leases: Control['leases'];

  constructor(leases: Control['leases']) {
    this.leases = leases;
  }

  device(): Device {
    if (this.failure !== undefined) throw this.failure;
    return DEVICE;
  }

  partitions(): Partition[] {
    return [PARTITION];
  }

  async addPartition(...args: Parameters<Control['addPartition']>): Promise<Partition> {
    return this.#note('add', ...args);
  }

  async deletePartition(...args: Parameters<Control['deletePartition']>): Promise<void> {
    this.#note('delete', ...args);
  }

  quarantine(): ReturnType<Control['quarantine']> {
    return [{ id: 'unknown:pmem0p1:8192', partition: 'pmem0p1', reason: 'unknown', bytes: 4096 }];
  }

  async attest(id: string, reason: string): Promise<void> {
    this.calls.push(['attest', id, reason]);
  }

  nbdExports(): ReturnType<Control['nbdExports']> {
    return {
      listen: ['nbd+unix:///?socket=/run/nbd'],
      exports: [
        { name: 'pmem0p1', description: 'label "a"', size: 4096, read_only: false, clients: 2 },
      ],
    };
  }

  async format(...args: Parameters<Control['format']>): Promise<Partition> {
    if (!args[1].force) throw new DaxdError('EEXIST', 'pmem0p1 holds an ext4: give force');
    return this.#note('format', ...args);
  }

  async mount(...args: Parameters<Control['mount']>): Promise<Partition> {
    return this.#note('mount', ...args);
  }

  async unmount(name: string): Promise<Partition> {
    return this.#note('unmount', name);
  }

  files(name: string): MountedFiles {
    if (name !== 'pmem0p1') throw new DaxdError('ENOENT', `no partition "${name}"`);
    return { fs: this.fs, startBytes: 1_000_000, pinnedPages: () => this.pinned };
  }

  operations(): Operation[] {
    return [OPERATION];
  }

  holdersOf(): readonly string[] {
    return [];
  }

  async operation(id: string, waitMs: number): Promise<Operation> {
    this.calls.push(['operation', id, waitMs]);
    return OPERATION;
  }

  async cancelOperation(id: string): Promise<Operation> {
    this.calls.push(['cancel', id]);
    return { ...OPERATION, done: true, state: 'ended' };
  }

  keptChange(): KeptChange {
    return {
      onBegin: async () => {},
      until: async (work) => work,
      keep: async ({ id }) => {
        this.calls.push(['keep', id]);
        return { ...OPERATION, id };
      },
    };
  }

  ready(): { ready: boolean; reasons: readonly string[] } {
    return { ready: this.reasons.length === 0, reasons: this.reasons };
  }

  #note(...call: unknown[]): Partition {
    this.calls.push(call);
    return PARTITION;
  }
}

/** Real leases, and the daemon in memory around them. */
export async function setUpControl(): Promise<{
  control: MemoryControl;
  lent: Awaited<ReturnType<typeof setUpLeases>>;
}> {
  const lent = await setUpLeases();
  return { control: new MemoryControl(lent.leases), lent };
}
