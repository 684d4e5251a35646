/**
 * Clients that send anything: random bytes, broken sessions, lengths past 2^63, in pieces, half
 * closed, without reading. daxd must answer or close, leak nothing, and serve others meanwhile.
 */
import { setTimeout } from 'node:timers/promises';
import { readdirSync, readlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { playSession } from '../support/nbd/fuzz-run.js';
import { FuzzSessions } from '../support/nbd/fuzz-session.js';
import { Transmission } from '../support/nbd/transmission.js';
import { testSeed, times } from '../support/random-test.js';
import { SeededRandom } from '../support/seeded-random.js';
import { metric } from './daxd.js';
import { addPartition, eventually, isRunning, anonymousBytes, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const CONNECTIONS = times(2000, 100_000);
const AT_ONCE = 8;
/** Memory is looked at after each; the first is the one in which pools fill. */
const ROUNDS = 10;
/**
 * More than the lanes have open, with those that are being ended: each has a worker with a heap of
 * its own, which must not count as a leak when it comes late.
 */
const WORKERS = 3 * AT_ONCE;
/** Heaps of the workers breathe by as much; 100,000 connections that leak 1 KiB each show. */
const GROWTH_MAX_BYTES = 64 * MIB;
/** With an arena a thread, which is glibc's way, fragments would look like a leak. */
const ONE_ARENA = ['env', 'MALLOC_ARENA_MAX=1', process.execPath, resolve('bin/daxd.js')] as const;

/** Reads and writes back and forth, and checks every byte, until told to stop. */
async function verifiedLoad(
  t: Test,
  client: Transmission,
  random: SeededRandom,
  stopped: () => boolean,
): Promise<number> {
  const model = Buffer.alloc(client.size);
  let rounds = 0;
  for (; !stopped(); rounds++) {
    const length = 1 + random.below(20_000);
    const offset = random.below(model.length - length);
    const bytes = random.bytes(length);
    await client.write(offset, bytes);
    bytes.copy(model, offset);
    const from = random.below(model.length - length);
    const right = (await client.read(from, length)).equals(model.subarray(from, from + length));
    if (!right) t.fail(`round ${rounds}: other bytes at ${from}`);
    if (rounds % 16 === 0) await client.flush();
  }
  t.ok((await client.read(0, model.length)).equals(model), 'in the end all of it');
  return rounds;
}

/** Plays sessions, several at once; the number of bytes that the server sent. */
async function fuzz(daxd: NbdDaxd, sessions: FuzzSessions, count: number): Promise<number> {
  let left = count;
  let bytes = 0;
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const received = await playSession(daxd.address, sessions.next());
      bytes += received;
      if (!isRunning(daxd)) throw new Error(`daxd is gone: ${daxd.stderr.slice(-60).join('\n')}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return bytes;
}

/** Has all workers started that there may be. */
async function startWorkers(t: Test, daxd: NbdDaxd, count: number): Promise<void> {
  const clients = Array.from({ length: count }, async () => NbdConnection.greet(t, daxd.address));
  for (const client of await Promise.all(clients)) client.stream.socket.destroy();
}

/** What a descriptor refers to; nothing once it is closed. */
function targetOf(fd: string): string {
  try {
    return readlinkSync(fd);
  } catch {
    return '';
  }
}

/**
 * How many sockets and files daxd has open. Its other descriptors are those of the workers' event
 * loops, and how many workers there are depends on how many connections met so far.
 */
function socketsAndFiles(daxd: NbdDaxd): number {
  const folder = `/proc/${daxd.child.pid}/fd`;
  const targets = readdirSync(folder).map((fd) => targetOf(join(folder, fd)));
  return targets.filter((target) => /^(socket:|\/)/.test(target)).length;
}

async function descriptors(daxd: NbdDaxd): Promise<number> {
  await eventually(
    () => metric(daxd.url, 'daxd_nbd_connections'),
    (count) => count === 1,
  );
  // The connection of that question is open for a moment yet.
  let least = Infinity;
  for (let look = 0; look < 10; look++) {
    least = Math.min(least, socketsAndFiles(daxd));
    await setTimeout(20);
  }
  return least;
}

t.test(`${CONNECTIONS} connections`, { timeout: 7_200_000 }, async (t) => {
  const args = ['--size', '32M', '--sparse', '--nbd-handshake-timeout', '2s'];
  const options = [...args, '--nbd-connections', `${WORKERS}`, '--log-level', 'error'];
  const daxd = await startNbd(t, { args: options, program: ONE_ARENA });
  await addPartition(daxd, 'fuzzed', 8 * MIB);
  await addPartition(daxd, 'undisturbed', 4 * MIB);
  const seed = testSeed(t);
  const sessions = new FuzzSessions(new SeededRandom(seed), 'pmem0p1');
  const client = await Transmission.start(t, daxd.address, 'pmem0p2');
  await startWorkers(t, daxd, WORKERS - 1);
  let stopped = false;
  const load = verifiedLoad(t, client, new SeededRandom(seed + 1), () => stopped);

  const open: number[] = [];
  const memory: number[] = [];
  let bytes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const received = await fuzz(daxd, sessions, CONNECTIONS / ROUNDS);
    bytes += received;
    open.push(await descriptors(daxd));
    memory.push(anonymousBytes(daxd));
  }
  stopped = true;
  const rounds = await load;
  t.comment(`${bytes} bytes of replies, ${rounds} rounds of verified I/O beside`);
  t.comment(
    `sockets and files ${open.join()}, MiB ${memory.map((now) => Math.round(now / MIB)).join()}`,
  );
  t.ok(bytes > 0 && rounds > 0);
  const [, ...settled] = memory;
  const first = Math.max(...open.slice(0, open.length / 2));
  t.ok((open.at(-1) ?? 0) <= first, 'no more sockets and files open than in the first half');
  const grown = Math.min(...settled.slice(-4)) - Math.min(...settled.slice(0, 4));
  t.ok(grown < GROWTH_MAX_BYTES, `grown by ${grown} bytes`);
  t.ok(isRunning(daxd));
  await client.disconnect();
  t.equal(await daxd.stop(), 0);
});
