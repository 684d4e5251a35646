import type { Partition } from '../block/partition.js';
import type { Ext4 } from '../fs/ext4/ext4.js';
import { probeSuperblock } from '../fs/ext4/probe.js';
import type { ProbedFilesystem } from '../fs/ext4/probe.js';
import type { Device as DeviceBody } from '../http/schemas/device.js';
import type { Partition as PartitionBody } from '../http/schemas/partition.js';
import { PAGE_SIZE } from '../lib/units.js';
import type { Backing } from '../media/backing.js';
import type { BackingRange } from '../media/backing-range.js';
import { MemoryType } from '../mm/dev-pagemap.js';
import type { DevPagemap } from '../mm/dev-pagemap.js';
import type { Memremap } from '../mm/memremap.js';
import type { PmemDevice } from '../nvdimm/pmem-device.js';
import type { Mounts } from './mounts.js';

const TYPE_NAMES: Readonly<Record<MemoryType, string>> = {
  [MemoryType.Private]: 'private',
  [MemoryType.Public]: 'public',
  [MemoryType.FsDax]: 'fsdax',
};

/** A partition on which a mount was tried in vain: nothing known lies there. */
const UNKNOWN: ProbedFilesystem = {
  type: 'unknown',
  label: '',
  uuid: '',
  totalBytes: undefined,
  freeBytes: undefined,
  usage: undefined,
};

/** The device as `GET /v1/device` shows it. */
export function deviceBody(backing: Backing, pmem: PmemDevice, memremap: Memremap): DeviceBody {
  const { namespace, disk } = pmem;
  return {
    backing: {
      path: backing.path,
      kind: backing.kind,
      size: backing.sizeBytes,
      align: backing.alignBytes,
      persistence: backing.persistence,
      sparse: backing.sparse,
      read_only: backing.readOnly,
    },
    namespace: {
      mode: namespace.mode,
      map: namespace.map,
      uuid: namespace.uuid ?? null,
      data_offset: namespace.dataOffset,
      npfns: namespace.npfns,
      align: namespace.align,
      start_pad: namespace.startPad,
      end_trunc: namespace.endTrunc,
      info_block_version: namespace.infoBlockVersion ?? null,
    },
    pagemap: pmem.pgmap === undefined ? null : pagemapBody(pmem.pgmap, memremap),
    disk: { name: disk.name, size: disk.sizeBytes, logical_block_size: disk.logicalBlockSize },
    attach: pmem.steps.map(({ step, ok, errno }) => ({
      step,
      ok,
      ...(errno !== undefined && { errno }),
    })),
  };
}

function pagemapBody(pgmap: DevPagemap, memremap: Memremap): NonNullable<DeviceBody['pagemap']> {
  return {
    type: pgmap.type === undefined ? 'none' : TYPE_NAMES[pgmap.type],
    pages: pgmap.pages,
    pinned_pages: pgmap.refs.pinnedPages(0, pgmap.pages),
    managed_users: memremap.devmapManagedKey.users,
  };
}

/** A partition as `GET /v1/partitions` shows it. */
export function partitionBody(partition: Partition, mounts: Mounts): PartitionBody {
  const dax = mounts.daxSupport(partition);
  return {
    name: partition.name,
    number: partition.number,
    label: partition.label,
    uuid: partition.uuid,
    type: partition.type,
    start: partition.startBytes,
    size: partition.sizeBytes,
    dax: dax.supported ? { supported: true } : dax,
    filesystem: filesystemBody(partition, mounts),
  };
}

function filesystemBody(partition: Partition, mounts: Mounts): PartitionBody['filesystem'] {
  const mount = mounts.find(partition.name);
  return mount?.live === true ? mountedBody(mount.fs) : foundBody(partition, mounts);
}

function mountedBody(fs: Ext4): PartitionBody['filesystem'] {
  const { label, uuid, readOnly } = fs;
  const { freeBytes, totalBytes } = fs.statfs();
  const sizes = { free_bytes: freeBytes, total_bytes: totalBytes };
  return { type: 'ext4', label, uuid, mounted: true, read_only: readOnly, ...sizes };
}

/** What lies there unmounted, and why it could not be mounted. */
function foundBody(partition: Partition, mounts: Mounts): PartitionBody['filesystem'] {
  const { range } = partition;
  const found = probeSuperblock(range);
  const error = mounts.failure(partition);
  if (found === undefined && error === undefined) return null;
  const { type, label, uuid, freeBytes = 0, totalBytes = 0 } = found ?? UNKNOWN;
  return {
    type,
    label,
    uuid,
    mounted: false,
    read_only: range.readOnly,
    free_bytes: freeBytes,
    total_bytes: totalBytes,
    ...(error !== undefined && { error: { ...error } }),
  };
}

/** Pages pinned within `[offset, offset + length)` of a range, those partly inside included. */
export function pinnedPagesIn(
  pgmap: DevPagemap | undefined,
  range: BackingRange,
  { offset, length }: { readonly offset: number; readonly length: number },
): number {
  if (pgmap === undefined || length === 0) return 0;
  const first = Math.floor((range.start + offset) / PAGE_SIZE) - pgmap.firstPfn;
  const end = Math.ceil((range.start + offset + length) / PAGE_SIZE) - pgmap.firstPfn;
  const from = Math.max(0, first);
  return pgmap.refs.pinnedPages(from, Math.min(end, pgmap.pages) - from);
}
