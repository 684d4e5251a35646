import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { fastify } from 'fastify';
import type { Static } from 'typebox';

import { loadServeConfig } from '../../src/config/load.js';
import { Daemon } from '../../src/daemon/daemon.js';
import { openLog } from '../../src/daemon/log.js';
import type { DaemonLog } from '../../src/daemon/log.js';
import { AcquireLease, GrantedLease, LeaseParams } from '../../src/http/schemas/lease.js';
import { LmdbStore } from '../../src/lease/lmdb/lmdb-store.js';
import { systemClock } from '../../src/lib/clock.js';
import { medianRow } from './bench-row.js';
import type { BenchRow } from './bench-row.js';
import { hasEtcd, openEtcd } from './etcd.js';
import type { Served } from './etcd.js';

/**
 * In each round, and before the first until both are compiled: what is measured is a daemon that
 * has been up for a while. A multiple of the connections, as are those of etcd.
 */
const PAIRS = 4_096;
/** etcd is that much slower. */
const ETCD_PAIRS = 1_024;
/** More than elsewhere: sockets and two threads make each round less like the next. */
const HTTP_ROUNDS = 15;
const PATH = 'file';
const BODY = JSON.stringify({
  partition: 'pmem0p1',
  path: PATH,
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 60_000,
});

/** Who does as much as daxd, or as little. */
interface Peer extends Served {
  readonly name: string;
  readonly of: 'daxd' | 'etcd';
  readonly pairs: number;
}

/**
 * A lease taken and given back over HTTP, beside two bare routes with the same schemas: without a
 * store, which shows what daxd itself costs, with the store in memory, and on a disk under many
 * clients, which share syncs. There beside an etcd with its data on the same disk, too, where one
 * is installed.
 */
export async function run(): Promise<BenchRow[]> {
  const memory = mkdtempSync('/dev/shm/daxd-bench-');
  const disk = mkdtempSync(join(tmpdir(), 'daxd-bench-'));
  if (!hasEtcd()) console.log('etcd is not installed: its row is left out');
  try {
    return [
      ...(await withoutStore(async () => rows(8, memory, 'not kept', [await openBare()]))),
      ...(await rows(8, memory, 'store in memory', [await openBare()])),
      ...(await rows(64, disk, 'store on a disk', [
        await openBare(),
        ...(hasEtcd() ? [await openEtcdPeer(disk)] : []),
      ])),
    ];
  } finally {
    rmSync(memory, { recursive: true });
    rmSync(disk, { recursive: true });
  }
}

/** Runs with stores that take what they are to keep for kept. */
async function withoutStore<Result>(run: () => Promise<Result>): Promise<Result> {
  const own = Object.getOwnPropertyDescriptor(LmdbStore.prototype, 'commit') ?? {};
  Object.defineProperty(LmdbStore.prototype, 'commit', { ...own, value: async () => {} });
  try {
    return await run();
  } finally {
    Object.defineProperty(LmdbStore.prototype, 'commit', own);
  }
}

/** A row for each peer. */
async function rows(
  connections: number,
  directory: string,
  where: string,
  peers: readonly Peer[],
): Promise<BenchRow[]> {
  const sink = openSync('/dev/null', 'w');
  const log = openLog('info', systemClock, sink);
  const daemon = await openDaemon(mkdtempSync(join(directory, 'rows-')), log);
  const daxd = { of: 'daxd', port: Number(new URL(daemon.urls[0] ?? '').port) } as const;
  try {
    await load(daxd, connections, PAIRS);
    for (const peer of peers) await load(peer, connections, peer.pairs);
    const rounds = peers.map((): { ours: number; peer: number }[] => []);
    for (let round = 0; round < HTTP_ROUNDS; round++) {
      const ours = await load(daxd, connections, PAIRS);
      for (const [i, peer] of peers.entries()) {
        rounds[i]?.push({ ours, peer: await load(peer, connections, peer.pairs) });
      }
    }
    const what = `lease acquire+release over HTTP, ${connections} connections, ${where}`;
    return peers.map((peer, i) =>
      medianRow(`${what}, beside ${peer.name}`, 'pairs/s', rounds[i] ?? []),
    );
  } finally {
    await daemon.close();
    for (const peer of peers) await peer.close();
    log.flush();
    closeSync(sink);
  }
}

async function openEtcdPeer(directory: string): Promise<Peer> {
  const name = "etcd's grant+put+revoke through its JSON gateway";
  return { name, of: 'etcd', pairs: ETCD_PAIRS, ...(await openEtcd(directory)) };
}

/** A whole daemon, logging as it does by default, but to nowhere. */
async function openDaemon(directory: string, log: DaemonLog): Promise<Daemon> {
  const backing = join(directory, 'pmem0.img');
  const daemon = await Daemon.open({
    config: loadServeConfig({ backing, size: '64M', init: true, listen: ['127.0.0.1:0'] }),
    version: '0',
    log,
    clock: systemClock,
    onFatal: (error) => {
      throw error;
    },
  });
  const url = `${daemon.urls[0]}/v1/partitions/pmem0p1/files/${PATH}`;
  await fetch(url, { method: 'PUT', body: 'x'.repeat(4096) });
  return daemon;
}

/** Fastify as it comes, with the schemas of the two routes and nothing behind them. */
async function openBare(): Promise<Peer> {
  const app = fastify();
  const extent = { file_offset: 0, device_offset: 8_388_608, length: 4096 };
  const lease: Omit<Static<typeof GrantedLease>, 'id'> = {
    fencing_token: 1,
    state: 'active',
    partition: 'pmem0p1',
    path: PATH,
    offset: 0,
    length: 4096,
    access: 'read',
    ttl_ms: 60_000,
    remaining_ttl_ms: 60_000,
    pages: 1,
    ranges: [{ offset: 0, length: 4096 }],
    backing_path: '/tmp/daxd-bench-xxxxxx/pmem0.img',
    extents: [extent],
    recalls: [],
    secret: 'A'.repeat(43),
  };
  let next = 0;
  const acquire = { schema: { body: AcquireLease, response: { 201: GrantedLease } } };
  app.post('/v1/leases', acquire, async (_request, reply) => {
    const id = `01J${String(next++).padStart(23, '0')}`;
    return reply
      .code(201)
      .header('location', `/v1/leases/${id}`)
      .send({ ...lease, id });
  });
  app.delete('/v1/leases/:id', { schema: { params: LeaseParams } }, async (_request, reply) =>
    reply.code(204).send(null),
  );
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const port = Number(new URL(url).port);
  return { name: 'bare Fastify', of: 'daxd', pairs: PAIRS, port, close: () => app.close() };
}

/** Pairs of calls a second. */
async function load(
  { of, port }: { readonly of: 'daxd' | 'etcd'; readonly port: number },
  connections: number,
  pairs: number,
): Promise<number> {
  const workerData = { of, port, pairs, connections, body: BODY };
  const worker = new Worker(new URL('./http-load.js', import.meta.url), { workerData });
  const [elapsedMs]: number[] = await once(worker, 'message');
  return (pairs * 1000) / (elapsedMs ?? NaN);
}
