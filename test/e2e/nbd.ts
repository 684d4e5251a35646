import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Test } from 'tap';

import type { NbdAddress } from '../support/nbd/connection.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { curl, post, startDaxd, until } from './daxd.js';
import type { Daxd } from './daxd.js';

/** A daemon with an NBD listener. */
export interface NbdDaxd extends Daxd {
  readonly directory: string;
  /** The backing. */
  readonly image: string;
  readonly socket: string;
  readonly address: NbdAddress;
  /** What NBD clients call an export. */
  uri(name: string): string;
}

/** What {@link startNbd} starts with. */
export interface NbdOptions {
  readonly args?: readonly string[];
  /** Where the backing and the socket lie; by default a new directory in memory. */
  readonly directory?: string;
  /** The backing, where it lies elsewhere. */
  readonly image?: string;
  /** What to start in place of the product. */
  readonly program?: readonly [string, ...string[]];
}

/** Starts a daemon that listens for NBD on a Unix socket. */
export async function startNbd(t: Test, options: NbdOptions = {}): Promise<NbdDaxd> {
  const { args = [], directory = scratchDirectory(t), program } = options;
  const { image = join(directory, 'pmem0.img') } = options;
  const socket = join(directory, 'nbd.sock');
  const all = ['--backing', image, '--nbd', `unix:${socket}`, ...args];
  const daxd = await startDaxd(t, all, undefined, program);
  const uri = (name: string): string => `nbd+unix:///${name}?socket=${socket}`;
  return { ...daxd, directory, image, socket, address: { path: socket }, uri };
}

/** The port of the listener that was started on a port of the system's choice. */
export function tcpPort({ stdout }: Daxd): number {
  const port = / nbds?:\/\/[^ ]+:(\d+)/.exec(stdout[0] ?? '')?.[1];
  if (port === undefined) throw new Error(`no NBD port in ${stdout[0]}`);
  return Number(port);
}

/** Makes a partition and gives its name. */
export async function addPartition(daxd: Daxd, label: string, size?: number): Promise<string> {
  const { status, json, body } = await curl(
    ...post(`${daxd.url}/v1/partitions`, { label, ...(size === undefined ? {} : { size }) }),
  );
  if (status !== 201 && status !== 200) throw new Error(`no partition ${label}: ${body}`);
  return json.name as string;
}

/** Pins a range of a partition that is not mounted, and gives the number of the lease. */
export async function leaseRaw(
  daxd: Daxd,
  partition: string,
  [offset, length]: readonly [number, number],
): Promise<string> {
  const terms = { access: 'write', ttl_ms: 600_000 };
  const { status, json, body } = await curl(
    ...post(`${daxd.url}/v1/leases`, { partition, offset, length, ...terms }),
  );
  if (status !== 201) throw new Error(`no lease of ${partition}: ${body}`);
  return json.id as string;
}

/** {@link until}, for things that happen soon after their cause and say nothing. */
export async function eventually<T>(
  ask: () => T | Promise<T>,
  holds: (answer: T) => boolean,
): Promise<T> {
  return until(async () => ask(), holds);
}

/** Clients that GET /v1/nbd counts, by export. */
export async function clientCounts(daxd: Daxd): Promise<Record<string, number>> {
  const { exports } = (await curl(`${daxd.url}/v1/nbd`)).json as {
    exports: { name: string; clients: number }[];
  };
  return Object.fromEntries(exports.map(({ name, clients }) => [name, clients]));
}

/** Waits until every client that left is gone for daxd too: till then they exclude others. */
export async function noClients(daxd: Daxd): Promise<void> {
  await eventually(
    () => clientCounts(daxd),
    (counts) => Object.values(counts).every((count) => count === 0),
  );
}

/** Whether a process that a test started runs. */
export function isRunning({ child }: Daxd): boolean {
  return child.exitCode === null && child.signalCode === null && existsSync(`/proc/${child.pid}`);
}

/** Memory of a daemon that is its own, without the pages of its backing; in bytes. */
export function anonymousBytes({ child }: Daxd): number {
  const kib = /RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}
