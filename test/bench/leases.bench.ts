import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { newLeaseSecret } from '../../src/http/lease-secret.js';
import type { LeaseRecord } from '../../src/lease/lease-record.js';
import type { LeaseStore, StoreChange } from '../../src/lease/lease-store.js';
import { LmdbStore } from '../../src/lease/lmdb/lmdb-store.js';
import { systemClock } from '../../src/lib/clock.js';
import { PAGE_SIZE } from '../../src/lib/units.js';
import { ask, setUpLeases } from '../unit/lease/set-up.js';
import type { LeaseSetUp } from '../unit/lease/set-up.js';
import { medianRow, quantile } from './bench-row.js';
import type { BenchRow } from './bench-row.js';

const FEW = 1_000;
const MANY = 999_000;
const SAMPLES = 2_000;
const RESTARTED = 1_000_000;
const BATCH = 20_000;
/** What a restart with a million leases may take, in seconds. */
const RESTART_LIMIT_SECONDS = 5;

/** Leases in process: what grows with how many there are, and a restart with a million. */
export async function run(): Promise<BenchRow[]> {
  return [await acquireRow(), await restartRow()];
}

/** A lease among a million, beside one among a thousand; both stores are in memory. */
async function acquireRow(): Promise<BenchRow> {
  const few = await setUpWith(FEW);
  const many = await setUpWith(MANY);
  const rounds: { ours: number; peer: number }[] = [];
  for (let round = 0; round < 3; round++) {
    rounds.push({ ours: await medianMs(many), peer: await medianMs(few) });
  }
  return medianRow('acquire, p50 among a million leases, beside a thousand', 'ms', rounds);
}

async function setUpWith(count: number): Promise<LeaseSetUp> {
  const set = await setUpLeases();
  set.fs.create('file', ['w'.repeat(256)]);
  for (let i = 0; i < count; i++) {
    await set.leases.acquire(ask({ offset: (i % 256) * PAGE_SIZE, ttlMs: 3_600_000 }));
    // What the log would have written stands in memory here.
    if (i % BATCH === 0) (set.lines as unknown[]).length = 0;
  }
  return set;
}

async function medianMs({ leases, lines }: LeaseSetUp): Promise<number> {
  const samples: number[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    const startMs = systemClock.nowMs();
    const { id } = await leases.acquire(ask({ offset: (i % 256) * PAGE_SIZE }));
    samples.push(systemClock.nowMs() - startMs);
    await leases.release(id);
  }
  (lines as unknown[]).length = 0;
  return quantile(samples, 0.5);
}

/** Opening the store and pinning every page again, beside the limit. */
async function restartRow(): Promise<BenchRow> {
  const directory = mkdtempSync(join(tmpdir(), 'daxd-bench-'));
  try {
    await fill(directory);
    const set = await setUpLeases();
    const startMs = systemClock.nowMs();
    const store = LmdbStore.open(directory);
    const next = await setUpLeases({ store, fs: set.fs });
    await next.leases.restore();
    const ours = (systemClock.nowMs() - startMs) / 1000;
    if (next.leases.size !== RESTARTED) throw new Error(`${next.leases.size} leases came back`);
    await store.close();
    return medianRow('restart with a million leases, beside the limit', 's', [
      { ours, peer: RESTART_LIMIT_SECONDS },
    ]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Has a store keep a million leases of single pages, as HTTP clients of daemons before would have. */
async function fill(directory: string): Promise<void> {
  const set = await setUpLeases();
  await set.leases.restore();
  set.fs.create('file', ['w'.repeat(256)]);
  const lease = await set.leases.acquire(ask());
  const record = lease.record();
  const store: LeaseStore = LmdbStore.open(directory);
  const { header } = set.store.disk;
  if (header !== undefined) await store.commit([{ kind: 'header', header }]);
  for (let from = 0; from < RESTARTED; from += BATCH) {
    const changes: StoreChange[] = [];
    for (let i = from; i < from + BATCH; i++) {
      changes.push({ kind: 'put', record: nthOf(record, i), deadlineMs: lease.deadlineMs });
    }
    await store.commit(changes);
  }
  await store.close();
}

/** One of many leases like `record`, which is of the first page: its id, its page, its secret. */
function nthOf(record: LeaseRecord, index: number): LeaseRecord {
  const id = `01J${String(index).padStart(23, '0')}`;
  // Neighbours in the store stand on pages far from each other.
  const offset = ((index * 97) % 256) * PAGE_SIZE;
  const { secretHash } = newLeaseSecret();
  const terms = { ...record.terms, id, offset, secretHash };
  if (typeof record.holding !== 'number') throw new Error('the first page is one run');
  return { ...record, terms, holding: record.holding + offset };
}
