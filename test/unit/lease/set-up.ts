import { Device } from '../../../src/base/device.js';
import type { Claim } from '../../../src/block/claims.js';
import { Claims } from '../../../src/block/claims.js';
import { Layouts } from '../../../src/dax/layouts.js';
import type { Fence } from '../../../src/lease/fence.js';
import type { LeaseRequest } from '../../../src/lease/lease-request.js';
import type { LeaseStore } from '../../../src/lease/lease-store.js';
import type { LeaseTarget } from '../../../src/lease/lease-target.js';
import { Leases } from '../../../src/lease/leases.js';
import type {
  CgroupRef,
  Holder,
  HolderTable,
  Presence,
  ProcessRef,
} from '../../../src/lease/holder.js';
import type { Clock } from '../../../src/lib/clock.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { EventRing } from '../../../src/lib/event-ring.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../../src/lib/latency-histogram.js';
import type { LogFields } from '../../../src/lib/logger.js';
import { SortableIds } from '../../../src/lib/sortable-id.js';
import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { DevPagemap, MemoryType } from '../../../src/mm/dev-pagemap.js';
import { genericDaxPagefree } from '../../../src/mm/generic-dax-pagefree.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { MemoryStore, type MemoryDisk } from './memory-store.js';
import { ToyFs } from './toy-fs.js';

/** Time that stands still until a test moves it; timers then run in their order. */
export class HandClock implements Clock {
  #nowMs = 1_000_000;
  /** On the wall when the machine booted. */
  #bootMs = 1_700_000_000_000;
  #timers: { readonly atMs: number; readonly fire: () => void }[] = [];

  get timers(): number {
    return this.#timers.length;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#bootMs + this.#nowMs;
  }

  /** The process was killed: its timers went with it. */
  kill(): void {
    this.#timers = [];
  }

  /** Starts the clock anew, while the time on the wall goes on. */
  reboot(): void {
    this.#bootMs += this.#nowMs;
    this.#nowMs = 0;
  }

  setTimer(fire: () => void, delayMs: number): () => void {
    const timer = { atMs: this.#nowMs + delayMs, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const due = this.#timers.filter(({ atMs }) => atMs <= untilMs);
      const next = due.toSorted((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
    }
    this.#nowMs = untilMs;
  }
}

/** Holders as a test wants them; those it does not name are unseen. */
export class ToyHolders implements HolderTable {
  readonly #presence = new Map<string, Presence>();
  readonly #cgroups = new Map<string, CgroupRef>();
  looks = 0;

  /** A later cgroup with the path of an earlier one takes its name. */
  set(holder: Holder, presence: Presence): void {
    this.#presence.set(keyOf(holder), presence);
    if (holder.cgroup !== undefined) this.#cgroups.set(holder.cgroup, holder);
  }

  presence(holder: Holder): Presence {
    this.looks++;
    return this.#presence.get(keyOf(holder)) ?? 'unseen';
  }

  process(pid: number, startTicks: number): ProcessRef {
    return { pid, startTicks, view: '' };
  }

  cgroup(path: string): CgroupRef {
    const cgroup = this.#cgroups.get(path);
    if (cgroup === undefined) throw new DaxdError('ESRCH', `there is no cgroup ${path}`);
    return cgroup;
  }
}

function keyOf({ pid, startTicks, cgroup, inode }: Holder & { readonly inode?: number }): string {
  return JSON.stringify([pid, startTicks, cgroup, inode]);
}

const SIZE_BYTES = 64 * MIB;
/** Where the data starts, so that pfn and page index differ; no multiple of 2 MiB. */
const DATA_OFFSET = 2 * MIB + 8 * PAGE_SIZE;
/** Partition 1: a mounted filesystem. */
export const FS_START = 4 * MIB;
const FS_BYTES = 16 * MIB;
/** Partition 2: raw, and its start is on 2 MiB. */
export const RAW_START = 24 * MIB;
export const RAW_BYTES = 8 * MIB;

/** What {@link setUpLeases} makes. */
export interface LeaseSetUp {
  readonly clock: HandClock;
  readonly device: Device;
  readonly memremap: Memremap;
  readonly pgmap: DevPagemap;
  readonly waiters: PageWaiters;
  readonly layouts: Layouts;
  readonly fs: ToyFs;
  readonly claims: Claims;
  /** What is there to lease; a test may take one away. */
  readonly targets: Map<string, LeaseTarget>;
  readonly lines: readonly { level: string; fields: LogFields; message: string }[];
  readonly holders: ToyHolders;
  readonly leases: Leases;
  readonly store: MemoryStore;
  /** What the leases told of. */
  readonly ring: EventRing;
  /** Distinct pinned pages of the whole device. */
  readonly pinnedPages: () => number;
}

/** Leases over real pages, real layouts and a toy filesystem; nothing waits for real time. */
export async function setUpLeases(
  options: {
    readOnly?: boolean;
    disk?: MemoryDisk;
    bootId?: string;
    clock?: HandClock;
    fs?: ToyFs;
    store?: LeaseStore;
    fence?: Fence;
  } = {},
): Promise<LeaseSetUp> {
  const clock = options.clock ?? new HandClock();
  const ids = new SortableIds(() => clock.wallMs());
  const backing = new MemoryBacking(SIZE_BYTES, { readOnly: options.readOnly ?? false });
  const device = new Device('pmem0');
  const memremap = new Memremap({ devPagemapOps: true });
  const waiters = new PageWaiters(clock);
  const pgmap = new DevPagemap({
    range: { start: 0, length: SIZE_BYTES },
    reservedBytes: DATA_OFFSET,
    ref: new UsageRef(),
  });
  pgmap.type = MemoryType.FsDax;
  pgmap.pageFree = (index, pages) => {
    genericDaxPagefree(waiters, pgmap, index, pages);
  };
  memremap.devPagemapGetOps();
  await memremap.devmMemremapPages(device, pgmap);

  const layouts = new Layouts({
    device: { pgmap, waiters },
    clock,
    ids,
    pageFreeLatency: new LatencyHistogram(FAST_BOUNDS_SECONDS),
    onWaitEnded: () => {},
  });
  const fs = options.fs ?? new ToyFs(options.readOnly ?? false);
  const claims = new Claims('pmem0');
  const targets = new Map<string, LeaseTarget>([
    [
      'pmem0p1',
      {
        kind: 'filesystem',
        media: { partition: 'guid-1', filesystem: 'uuid-1', writtenSeconds: 100 },
        fs,
        layouts,
        range: new BackingRange(backing, FS_START, FS_BYTES),
      },
    ],
    [
      'pmem0p2',
      {
        kind: 'raw',
        media: { partition: 'guid-2' },
        range: new BackingRange(backing, RAW_START, RAW_BYTES),
        claim: (holder): Claim => claims.claimPartition('pmem0p2', holder),
      },
    ],
  ]);
  const target = (name: string): LeaseTarget => {
    const found = targets.get(name);
    if (found === undefined) throw new DaxdError('ENOENT', `there is no partition ${name}`);
    return found;
  };
  const lines: { level: string; fields: LogFields; message: string }[] = [];
  const logTo = (level: string) => (fields: LogFields, message: string) => {
    lines.push({ level, fields, message });
  };
  const log = {
    debug: logTo('debug'),
    info: logTo('info'),
    warn: logTo('warn'),
    error: logTo('error'),
  };
  const holders = new ToyHolders();
  const ring = new EventRing('toy', 100);
  const store = new MemoryStore(options.disk);
  const leases = new Leases({
    targets: { target, identify: (name) => targets.get(name)?.media },
    memremap,
    holders,
    store: options.store ?? store,
    fence: options.fence,
    media: 'namespace-1',
    bootId: options.bootId ?? 'boot-1',
    backingPath: '(memory)',
    clock,
    ids,
    log,
    events: ring,
  });
  const pinnedPages = (): number => pgmap.refs.pinnedPages(0, pgmap.pages);
  return {
    clock,
    device,
    memremap,
    pgmap,
    waiters,
    layouts,
    fs,
    claims,
    targets,
    lines,
    holders,
    leases,
    store,
    ring,
    pinnedPages,
  };
}

/** A lease of the first page of /file for ten seconds, unless told otherwise. */
export function ask(request: Partial<LeaseRequest> = {}): LeaseRequest {
  return {
    partition: 'pmem0p1',
    path: 'file',
    offset: 0,
    length: PAGE_SIZE,
    access: 'read',
    ttlMs: 10_000,
    ...request,
  };
}

/** The same on the raw partition. */
export function askRaw(request: Partial<LeaseRequest> = {}): LeaseRequest {
  const { path: _, ...rest } = ask({ partition: 'pmem0p2', ...request });
  return rest;
}

/** Releases every lease, one after the other. */
export async function releaseAll(leases: Leases): Promise<void> {
  for (;;) {
    const page = leases.list({});
    for (const { id } of page.leases) await leases.release(id);
    if (page.leases.length === 0) return;
  }
}
