/**
 * Under strace: the reply to each grant and each release, of a part too, and each 202 to a change
 * that waits, leaves after the sync of a commit that began after the request had come. A killed
 * process loses nothing from the page cache, so only this shows that the lease would outlive a
 * power cut.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { startDaxd } from './daxd.js';
import { mutant, PLACES } from './mutant.js';

const TRACED_CALLS = 'openat,fdatasync,pwrite64,read,write,writev';
const CLIENTS = 8;
const PAIRS = 12;

/** One call on a connection of its own, kept alive; its status and body. */
async function call(agent: Agent, url: string, method: string, body = '') {
  const json = { 'content-type': 'application/json', prefer: 'respond-async' };
  const headers = body === '' ? {} : json;
  const asked = request(url, { agent, method, headers });
  asked.end(body);
  const [response] = await once(asked, 'response');
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode, text };
}

const TERMS = {
  partition: 'pmem0p1',
  path: 'file',
  offset: 0,
  length: 8192,
  access: 'read',
  ttl_ms: 60_000,
};

/** Leases, gives back a part and then the rest, again and again. */
async function client(t: Test, url: string): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => {
    agent.destroy();
  });
  for (let pair = 0; pair < PAIRS; pair++) {
    const granted = await call(agent, `${url}/v1/leases`, 'POST', JSON.stringify(TERMS));
    const { id } = JSON.parse(granted.text);
    const part = JSON.stringify({ ranges: [{ offset: 4096, length: 4096 }] });
    const smaller = await call(agent, `${url}/v1/leases/${id}/release`, 'POST', part);
    if (smaller.status !== 200) throw new Error(smaller.text);
    const released = await call(agent, `${url}/v1/leases/${id}`, 'DELETE');
    if (granted.status !== 201 || released.status !== 204) throw new Error(granted.text);
  }
}

/** A change that waits for a lease, and is answered 202. */
async function deferredChange(agent: Agent, url: string, path: string): Promise<void> {
  const own = { ...TERMS, path };
  const held = await call(agent, `${url}/v1/leases`, 'POST', JSON.stringify(own));
  const truncate = `${url}/v1/partitions/pmem0p1/truncate`;
  const cut = await call(agent, truncate, 'POST', JSON.stringify({ path, size: 0 }));
  if (cut.status !== 202) throw new Error(cut.text);
  await call(agent, `${url}/v1/leases/${JSON.parse(held.text).id}`, 'DELETE');
}

/** The calls that are to be durable before their reply. */
const ASKED =
  /^read\(.*"(POST \/v1\/(leases(\/\S+\/release)? |partitions\/\S+\/truncate )|DELETE \/v1\/leases\/)/;

interface Judged {
  readonly replies: number;
  /** Replies that left before a commit of theirs was on the disk. */
  readonly early: number;
}

interface SystemCall {
  readonly text: string;
  /** Lines of the trace. */
  readonly start: number;
  readonly end: number;
}

/** The calls of a trace by their ends; those that other threads interrupted are put together. */
function callsOf(trace: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string, { text: string; start: number }>();
  for (const [at, line] of trace.split('\n').entries()) {
    const [, pid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text)?.[1];
    const begun = unfinished.get(pid);
    if (text.endsWith('<unfinished ...>')) unfinished.set(pid, { text, start: at });
    else if (resumed === undefined) calls.push({ text, start: at, end: at });
    else if (begun !== undefined) {
      calls.push({ text: begun.text + resumed, start: begun.start, end: at });
    }
  }
  return calls;
}

function judgeTrace(trace: string): Judged {
  /** By connection: where its last request had been read. */
  const asked = new Map<string, number>();
  /** Where the newest commit began whose pages are synced, and whose meta page is on the disk. */
  let syncedFrom = -1;
  let metaFd = '';
  const durable: { readonly from: number; readonly at: number }[] = [];
  let replies = 0;
  let early = 0;
  for (const { text, start, end } of callsOf(trace)) {
    const socket = /<socket:\[(\d+)\]>/.exec(text)?.[1] ?? '';
    if (/^fdatasync\(\d+<.*leases\.mdb>/.test(text)) syncedFrom = start;
    // LMDB's meta page goes through a descriptor with O_DSYNC, after the sync of the pages.
    metaFd = /leases\.mdb", .*O_DSYNC.*\) = (\d+)/.exec(text)?.[1] ?? metaFd;
    const isMeta = text.startsWith(`pwrite64(${metaFd}<`);
    if (isMeta) durable.push({ from: syncedFrom, at: end });
    if (ASKED.test(text)) asked.set(socket, end);
    if (!/^writev?\(.*"HTTP\/1\.1 20[0124]/.test(text)) continue;
    const since = asked.get(socket);
    if (since === undefined) continue;
    asked.delete(socket);
    replies++;
    if (!durable.some(({ from, at }) => from > since && at < start)) early++;
  }
  return { replies, early };
}

async function judge(t: Test, program: string): Promise<Judged> {
  const directory = t.testdir({});
  const trace = join(directory, 'trace');
  const strace = ['-D', '-f', '-y', '-s', '64', '--seccomp-bpf', '-o', trace];
  const traced = ['strace', ...strace, '-e', `trace=${TRACED_CALLS}`, process.execPath] as const;
  const backing = ['--backing', join(directory, 'pmem0.img'), '--size', '16M', '--init'];
  const daxd = await startDaxd(t, backing, undefined, [...traced, program]);
  const agent = new Agent();
  const files = `${daxd.url}/v1/partitions/pmem0p1/files`;
  const numbers = Array.from({ length: CLIENTS }, (_, number) => number);
  const own = numbers.map((number) => `own-${number}`);
  for (const name of ['file', ...own]) {
    await call(agent, `${files}/${name}`, 'PUT', 'x'.repeat(8192));
  }
  await Promise.all(numbers.map(async () => client(t, daxd.url)));
  // One by one behind all others, whose commits would pass for theirs.
  for (const path of own) await deferredChange(agent, daxd.url, path);
  t.equal(await daxd.stop(), 0);
  // strace pads a pid to five places.
  const end = new RegExp(`^${daxd.child.pid} +\\+\\+\\+ exited`, 'm');
  for (let tries = 0; tries < 600; tries++) {
    const text = readFileSync(trace, 'utf8');
    if (end.test(text)) return judgeTrace(text);
    await setTimeout(50);
  }
  throw new Error('the trace does not end');
}

t.test('each grant, release and 202 is on the disk before its reply', async (t) => {
  if (!requires(t, { commands: ['strace'] })) return;
  const { replies, early } = await judge(t, resolve('bin/daxd.js'));
  t.equal(replies, CLIENTS * (3 * PAIRS + 3));
  t.equal(early, 0);
});

t.test('control: without the sync, replies are early', async (t) => {
  if (!requires(t, { commands: ['strace'] })) return;
  const program = mutant(t, PLACES.storeSync, 'noSync: true,');
  const { replies, early } = await judge(t, program);
  t.ok(early > replies / 2, `${early} of ${replies} are early`);
});

t.test('control: with the reply before the commit, replies are early', async (t) => {
  if (!requires(t, { commands: ['strace'] })) return;
  const program = mutant(t, PLACES.storeWritten, 'void written;');
  const { replies, early } = await judge(t, program);
  t.ok(early > replies / 2, `${early} of ${replies} are early`);
});

t.test('control: with a 202 before its commit, some are early', async (t) => {
  if (!requires(t, { commands: ['strace'] })) return;
  const program = mutant(t, PLACES.keptChange, 'void this.#store(this.#kept);');
  const { early } = await judge(t, program);
  t.ok(early > 0, `${early} are early`);
});

t.test('control: with a partial release before its commit, some are early', async (t) => {
  if (!requires(t, { commands: ['strace'] })) return;
  const program = mutant(t, PLACES.partialRelease, 'void store.commit(smaller);');
  const { early } = await judge(t, program);
  t.ok(early > 0, `${early} are early`);
});
