import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Test } from 'tap';

import { Device } from '../../../src/base/device.js';
import { Layouts } from '../../../src/dax/layouts.js';
import { mountExt4 } from '../../../src/fs/ext4/ext4.js';
import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import type { LeaseRequest } from '../../../src/lease/lease-request.js';
import { Leases } from '../../../src/lease/leases.js';
import { HostHolders } from '../../../src/lease/host-holders.js';
import { readBootId } from '../../../src/lease/proc-fs.js';
import { systemClock } from '../../../src/lib/clock.js';
import type { Clock } from '../../../src/lib/clock.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { silentEvents } from '../../../src/lib/event-ring.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../../src/lib/latency-histogram.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { SortableIds } from '../../../src/lib/sortable-id.js';
import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';
import type { Backing } from '../../../src/media/backing.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { DevPagemap, MemoryType } from '../../../src/mm/dev-pagemap.js';
import { genericDaxPagefree } from '../../../src/mm/generic-dax-pagefree.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { PageWaiters } from '../../../src/mm/page-waiters.js';
import { fsck, runJudge } from '../../support/ext4-image.js';
import type { Verdict } from '../../support/ext4-image.js';
import { extract } from '../../support/extract.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { MemoryStore } from '../../unit/lease/memory-store.js';

/** Where the partition starts in the backing. */
const START = 4 * MIB;
const PARTITION_BYTES = 32 * MIB;
/** What free blocks hold, so that a stale byte that gets lent is seen. */
export const STALE = 0xa5;

/** A real ext4 on a mapped file, with real pages and leases over it. */
export interface Ext4SetUp {
  readonly backing: Backing;
  readonly fs: Ext4;
  readonly layouts: Layouts;
  readonly leases: Leases;
  readonly waiters: PageWaiters;
  readonly pinnedPages: () => number;
  /** Unmounts, and asks e2fsck about what is on the media then. */
  readonly judge: () => Promise<Verdict>;
  /** After {@link judge}: a file's bytes as debugfs reads them. */
  readonly dump: (path: string) => Buffer;
}

/** Has mke2fs make the filesystem with `files` over bytes of {@link STALE}, and mounts it. */
export async function setUpExt4(
  t: Test,
  files: Readonly<Record<string, Buffer>> = {},
  leaseClock: Clock = systemClock,
): Promise<Ext4SetUp> {
  const directory = scratchDirectory(t);
  const tree = join(directory, 'tree');
  mkdirSync(tree);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(tree, name), content);
  const part = join(directory, 'part');
  const image = join(directory, 'pmem0.img');
  writeFileSync(part, Buffer.alloc(PARTITION_BYTES, STALE));
  const options = 'nodiscard,lazy_itable_init=0,lazy_journal_init=0';
  const form = ['-q', '-F', '-t', 'ext4', '-b', '4096'];
  const made = runJudge('mke2fs', [...form, '-E', options, '-d', tree, part]);
  if (made.status !== 0) throw new Error(made.output);
  copyInto(image, readFileSync(part));

  const backing = await openBacking(image, { log: silentLogger });
  let open = true;
  const close = async (): Promise<void> => {
    if (open) await backing.close();
    open = false;
  };
  t.teardown(close);
  const { memremap, pgmap, waiters } = await mapPages(backing);
  const ids = new SortableIds(() => systemClock.wallMs());
  const layouts = new Layouts({
    device: { pgmap, waiters },
    clock: systemClock,
    ids,
    pageFreeLatency: new LatencyHistogram(FAST_BOUNDS_SECONDS),
    onWaitEnded: () => {},
  });
  const range = new BackingRange(backing, START, PARTITION_BYTES);
  const mount = { readOnly: false, layouts, log: silentLogger, clock: systemClock };
  const fs = await mountExt4(range, mount);
  const media = { partition: 'guid', filesystem: fs.uuid, writtenSeconds: 0 };
  const leases = new Leases({
    targets: {
      target(name) {
        if (name === 'pmem0p1') return { kind: 'filesystem', media, fs, layouts, range };
        throw new DaxdError('ENOENT', `there is no partition ${name}`);
      },
      identify: () => media,
    },
    memremap,
    holders: new HostHolders(),
    store: new MemoryStore(),
    media: 'namespace',
    bootId: readBootId(),
    backingPath: backing.path,
    clock: leaseClock,
    ids,
    log: silentLogger,
    events: silentEvents,
  });
  const judge = async (): Promise<Verdict> => {
    await fs.unmount();
    await close();
    return fsck(extract(image, [START, PARTITION_BYTES], part));
  };
  const dump = (path: string): Buffer => {
    const copy = join(directory, 'dumped');
    runJudge('debugfs', ['-R', `dump "/${path}" ${copy}`, part]);
    return readFileSync(copy);
  };
  const pinnedPages = (): number => pgmap.refs.pinnedPages(0, pgmap.pages);
  return { backing, fs, layouts, leases, waiters, pinnedPages, judge, dump };
}

/** A lease of the first page of file for a minute, unless told otherwise. */
export function ask(request: Partial<LeaseRequest> = {}): LeaseRequest {
  return {
    partition: 'pmem0p1',
    path: 'file',
    offset: 0,
    length: PAGE_SIZE,
    access: 'read',
    ttlMs: 60_000,
    ...request,
  };
}

/** Bytes that tell where they belong. */
export function pattern(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 12)) & 0xff));
}

/** Whether a promise is settled by now, after every step that is ready and then some. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await sleep(20);
  return settled;
}

function copyInto(image: string, partition: Buffer): void {
  const fd = openSync(image, 'w');
  writeSync(fd, partition, 0, partition.length, START);
  closeSync(fd);
  truncateSync(image, START + PARTITION_BYTES);
}

async function mapPages(
  backing: Backing,
): Promise<{ memremap: Memremap; pgmap: DevPagemap; waiters: PageWaiters }> {
  const memremap = new Memremap({ devPagemapOps: true });
  const waiters = new PageWaiters(systemClock);
  const range = { start: 0, length: backing.sizeBytes };
  const pgmap = new DevPagemap({ range, reservedBytes: 2 * MIB, ref: new UsageRef() });
  pgmap.type = MemoryType.FsDax;
  pgmap.pageFree = (index, pages) => {
    genericDaxPagefree(waiters, pgmap, index, pages);
  };
  memremap.devPagemapGetOps();
  await memremap.devmMemremapPages(new Device('pmem0'), pgmap);
  return { memremap, pgmap, waiters };
}
