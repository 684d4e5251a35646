import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { systemClock } from '../../src/lib/clock.js';
import { freePort } from '../support/free-port.js';

/** A server under load. */
export interface Served {
  readonly port: number;
  /** Ends it, and waits for its end. */
  close(): Promise<void>;
}

/** How long it may take until it serves, in milliseconds. */
const START_MS = 20_000;

/** Whether there is an etcd to start. */
export function hasEtcd(): boolean {
  return spawnSync('which', ['etcd']).status === 0;
}

/**
 * Starts an etcd as it comes, a cluster of one, with its data in a directory; settles when it
 * serves.
 *
 * @throws Error when it does not within 20 seconds.
 */
export async function openEtcd(directory: string): Promise<Served> {
  const port = await freePort();
  const client = `http://127.0.0.1:${port}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const args = [
    ['--data-dir', join(directory, 'etcd')],
    ['--listen-client-urls', client],
    ['--advertise-client-urls', client],
    ['--listen-peer-urls', peer],
    ['--initial-advertise-peer-urls', peer],
    ['--initial-cluster', `default=${peer}`],
  ];
  const child = spawn('etcd', args.flat(), { stdio: 'ignore' });
  const exited = once(child, 'exit');
  const close = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exited;
  };
  const untilMs = systemClock.nowMs() + START_MS;
  while (!(await isHealthy(client))) {
    if (child.exitCode !== null || systemClock.nowMs() > untilMs) {
      await close();
      throw new Error(`etcd does not serve at ${client}`);
    }
    await sleep(50);
  }
  return { port, close };
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch {
    return false;
  }
}
