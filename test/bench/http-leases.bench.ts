import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { fastify } from 'fastify';

import { loadServeConfig } from '../../src/config/load.js';
import { Daemon } from '../../src/daemon/daemon.js';
import { openLog } from '../../src/daemon/log.js';
import { AcquireLease, GrantedLease, LeaseParams } from '../../src/http/schemas/lease.js';
import { systemClock } from '../../src/lib/clock.js';
import { medianRow } from './bench-row.js';
import type { BenchRow } from './bench-row.js';

const PAIRS = 4_000;
/** Until both are compiled: what is measured is a daemon that has been up for a while. */
const WARM_UP_PAIRS = 4_000;
/** More than elsewhere: sockets and two threads make each round less like the next. */
const HTTP_ROUNDS = 7;
const PATH = 'file';
const BODY = JSON.stringify({
  partition: 'pmem0p1',
  path: PATH,
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 60_000,
});

/**
 * A lease taken and given back over HTTP, beside two bare routes with the same schemas: with the
 * store in memory, which shows what daxd itself costs, and on a disk under many clients, which
 * share syncs.
 */
export async function run(): Promise<BenchRow[]> {
  return [
    await row(8, mkdtempSync('/dev/shm/daxd-bench-'), 'store in memory'),
    await row(64, mkdtempSync(join(tmpdir(), 'daxd-bench-')), 'store on a disk'),
  ];
}

async function row(connections: number, directory: string, where: string): Promise<BenchRow> {
  const sink = openSync('/dev/null', 'w');
  const daemon = await openDaemon(directory, sink);
  const bare = await openBare();
  try {
    const ports = { ours: Number(new URL(daemon.urls[0] ?? '').port), peer: bare.port };
    await load(ports.ours, connections, WARM_UP_PAIRS);
    await load(ports.peer, connections, WARM_UP_PAIRS);
    const rounds: { ours: number; peer: number }[] = [];
    for (let round = 0; round < HTTP_ROUNDS; round++) {
      const ours = await load(ports.ours, connections, PAIRS);
      rounds.push({ ours, peer: await load(ports.peer, connections, PAIRS) });
    }
    const name = `lease acquire+release over HTTP, ${connections} connections, ${where}, beside bare Fastify`;
    return medianRow(name, 'pairs/s', rounds);
  } finally {
    await daemon.close();
    await bare.close();
    closeSync(sink);
    rmSync(directory, { recursive: true });
  }
}

/** A whole daemon, logging as it does by default, but to nowhere. */
async function openDaemon(directory: string, sink: number): Promise<Daemon> {
  const backing = join(directory, 'pmem0.img');
  const daemon = await Daemon.open({
    config: loadServeConfig({ backing, size: '64M', init: true, listen: ['127.0.0.1:0'] }),
    version: '0',
    log: openLog('info', systemClock, sink),
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
async function openBare(): Promise<{ readonly port: number; close(): Promise<void> }> {
  const app = fastify();
  const extent = { file_offset: 0, device_offset: 8_388_608, length: 4096 };
  const lease = {
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
  return { port: Number(new URL(url).port), close: () => app.close() };
}

/** Pairs of calls a second. */
async function load(port: number, connections: number, pairs: number): Promise<number> {
  const workerData = { port, pairs, connections, body: BODY };
  const worker = new Worker(new URL('./http-load.js', import.meta.url), { workerData });
  const [elapsedMs]: number[] = await once(worker, 'message');
  return (pairs * 1000) / (elapsedMs ?? NaN);
}
