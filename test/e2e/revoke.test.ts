/**
 * Leases taken from their holders: by a change with on_conflict revoke, by a call, and where
 * they have lapsed and a fence command is there. Without proof no page is free.
 */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../support/requires.js';
import { curl, post, runVerb, startCurl, startDaxd, startRefused, until } from './daxd.js';
import type { Daxd } from './daxd.js';
import { judge, leaseHalf } from './half-leased.js';

const P = 4096;
const JUDGES = { commands: ['curl', 'e2fsck'] };

/** A fence command that notes how it was run, and exits with what lies in a file. */
function fenceCommand(directory: string): string {
  const program = join(directory, 'fence');
  const lines = [
    '#!/bin/sh',
    `echo "$# $1 $2 $DAXD_LEASE_ID $DAXD_CLIENT $DAXD_EXTENTS" >> ${directory}/calls`,
    'echo "port 3 is shut"',
    `exit "$(cat ${directory}/exit)"`,
  ];
  writeFileSync(program, `${lines.join('\n')}\n`);
  chmodSync(program, 0o755);
  writeFileSync(join(directory, 'exit'), '0');
  return program;
}

/** A daemon, and a file of sixteen pages of which a client has the second half. */
async function setUp(t: Test, { lease = {}, isFenced = true } = {}) {
  const directory = t.testdir({});
  const image = join(directory, 'pmem0.img');
  const program = fenceCommand(directory);
  const args = ['--backing', image, ...(isFenced ? ['--fence-command', program] : [])];
  const daxd = await startDaxd(t, [...args, '--size', '64M', '--init']);
  const half = await leaseHalf(t, daxd, { client: 'nic 0', ...lease });
  const calls = (): string[] => {
    const path = join(directory, 'calls');
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  };
  const exit = (code: number): void => {
    writeFileSync(join(directory, 'exit'), String(code));
  };
  return { directory, image, args, daxd, ...half, calls, exit };
}

function truncate({ url }: Daxd, asked: object = {}) {
  const body = { path: 'a', size: 0, on_conflict: 'revoke', deadline_ms: 1, ...asked };
  return curl(...post(`${url}/v1/partitions/pmem0p1/truncate`, body));
}

async function leaseOf({ url }: Daxd, id: string) {
  return (await curl(`${url}/v1/leases/${id}`)).json;
}

/** Asks until something is so, twenty times a second. */
async function pollUntil(ask: () => Promise<boolean>): Promise<void> {
  while (!(await ask())) await setTimeout(50);
}

/** Takes the time that a holder has before it is assumed to have seen a recall out of a test. */
const SHORT = { lease: { ttl_ms: 1000 } };

t.test('revoke: a fenced holder loses its lease, and the blocks are free', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, daxd, lease, place, calls } = await setUp(t, SHORT);
  const done = await truncate(daxd);
  t.match(done, { status: 200, json: { size: 0, quarantined_bytes: 0, freed_bytes: 16 * P } });
  t.strictSame(done.json.evicted, [
    { lease: lease.id, state: 'revoked', detail: 'fenced: port 3 is shut' },
  ]);
  const [{ device_offset: at }] = lease.extents;
  t.strictSame(calls(), [`2 ${lease.id} nic 0 ${lease.id} nic 0 ${at}:${8 * P}`]);
  t.match(await leaseOf(daxd, lease.id), {
    state: 'revoked',
    pages: 0,
    ended: 'fenced: port 3 is shut',
  });
  const renewed = await curl(...post(`${daxd.url}/v1/leases/${lease.id}/renew`));
  t.match(renewed, { status: 410, json: { code: 'lease-revoked' } });
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`)).status, 204);
  t.match((await curl(`${daxd.url}/metrics`)).body, /daxd_fences_total\{outcome="fenced"\} 1\n/);
  t.equal(await daxd.stop(), 0);
  judge(t, image, place);
});

t.test('revoke: a holder that cannot be fenced keeps its bytes, in quarantine', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { image, args, daxd, lease, place, calls, exit } = await setUp(t, SHORT);
  exit(3);
  const done = await truncate(daxd);
  t.match(done, { status: 200, json: { size: 0, quarantined_bytes: 8 * P } });
  t.match(done.json.evicted, [{ lease: lease.id, state: 'quarantined', detail: /^revoked by/ }]);
  await pollUntil(async () => calls().length > 1);
  t.match(await leaseOf(daxd, lease.id), { state: 'quarantined', pages: 8 }, 'it is tried again');

  await daxd.stop('SIGKILL');
  exit(0);
  const next = await startDaxd(t, args);
  await pollUntil(async () => (await leaseOf(next, lease.id)).state === 'revoked');
  t.strictSame((await curl(`${next.url}/v1/quarantine`)).json.quarantine, []);
  t.equal(await next.stop(), 0);
  judge(t, image, place);
});

t.test('revoke: without a fence command all is as with defer', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { daxd, lease } = await setUp(t, { ...SHORT, isFenced: false });
  const done = await truncate(daxd);
  t.match(done, { status: 200, json: { quarantined_bytes: 8 * P } });
  t.match(await leaseOf(daxd, lease.id), { state: 'quarantined', pages: 8 });
});

t.test('revoke: a holder has its time from when it can see the recall', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { daxd, lease, calls } = await setUp(t, { lease: { ttl_ms: 60_000 } });
  const waiting = truncate(daxd, { deadline_ms: 3_000 });
  const operations = `${daxd.url}/v1/operations`;
  const ask = async () => (await curl(operations)).json.operations;
  const [operation] = await until(ask, (found) => found.length > 0);
  await setTimeout(3_500);
  t.match(await leaseOf(daxd, lease.id), { state: 'recalling' }, 'it has not renewed yet');
  const one = `${daxd.url}/v1/leases/${lease.id}`;
  const renewed = await curl(...post(`${one}/renew`));
  const [recall] = renewed.json.recalls;
  t.match(recall, { operation: operation.id });
  t.ok(recall.deadline_ms > 0 && recall.deadline_ms <= 3_000, `${recall.deadline_ms} ms`);

  const answer = await curl(...post(`${one}/acknowledge`, { estimate_ms: 30_000 }));
  t.ok(answer.json.recalls[0].deadline_ms > 20_000, 'it said that it takes longer');
  const [{ acknowledged }] = await ask();
  const [seen] = acknowledged;
  t.match(seen, { lease: lease.id });
  await setTimeout(3_500);
  t.match(await leaseOf(daxd, lease.id), { state: 'recalling' });
  t.equal((await curl('-X', 'DELETE', one)).status, 204);
  const done = await waiting;
  t.match(done, { status: 200, json: { quarantined_bytes: 0 } });
  t.strictSame(done.json.evicted, [{ lease: lease.id, state: 'released', detail: 'asked for' }]);
  t.strictSame(calls(), [], 'nobody was fenced');
  t.match(await curl(...post(`${one}/acknowledge`, { estimate_ms: 1 })), {
    status: 404,
    json: { code: 'ENOENT', detail: /nothing asks for/ },
  });
});

t.test('revoke: a lapsed lease that somebody waits for is fenced', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { daxd, lease, calls } = await setUp(t, SHORT);
  const done = await truncate(daxd, { on_conflict: 'wait', deadline_ms: 20_000 });
  t.match(done, { status: 200, json: { quarantined_bytes: 0, size: 0 } });
  t.equal(calls().length, 1);
  t.match(await leaseOf(daxd, lease.id), { state: 'revoked' });
});

t.test('revoke: by a call, the pages stay in their file until there is proof', async (t) => {
  if (!requires(t, JUDGES)) return;
  const { daxd, args, lease, calls, exit, image, place } = await setUp(t);
  exit(1);
  const verb = ['lease', 'revoke', lease.id, '--reason', 'the port is down'];
  const { exit: code, stdout } = runVerb(daxd.url, [...verb, '--json']);
  t.equal(code, 0);
  t.match(JSON.parse(stdout), { state: 'quarantined', quarantined: 'the port is down', pages: 8 });
  const stat = (await curl(`${daxd.url}/v1/partitions/pmem0p1/stat/a`)).json;
  t.match(stat, { size: 16 * P, pinned_pages: 8 });
  const waits = await truncate(daxd, { on_conflict: 'wait', deadline_ms: 100 });
  t.match(waits, { status: 504, json: { holders: [lease.id] } });

  await daxd.stop('SIGKILL');
  const before = calls().length;
  const next = await startDaxd(t, args);
  t.match(await leaseOf(next, lease.id), { state: 'quarantined', pages: 8 });
  exit(0);
  await pollUntil(async () => (await leaseOf(next, lease.id)).state === 'revoked');
  t.ok(calls().length > before);
  t.match(await truncate(next, { on_conflict: 'fail', deadline_ms: undefined }), { status: 200 });
  t.equal(await next.stop(), 0);
  judge(t, image, place);
});

t.test('revoke: a fence command that is not there, and one named badly', async (t) => {
  const backing = ['--backing', join(t.testdir({}), 'pmem0.img'), '--size', '64M', '--init'];
  const absent = startRefused([...backing, '--fence-command', '/none/fence']);
  t.match(absent, { exit: 1, stderr: /ENOENT.*--fence-command \/none\/fence cannot be run/ });
  t.match(startRefused([...backing, '--fence-command', 'fence']), { exit: 2, stderr: /absolute/ });
});

t.test('stall: a daemon that stood still takes no lease that was renewed in time', async (t) => {
  if (!requires(t, JUDGES)) return;
  const up = await setUp(t, { lease: { ttl_ms: 2000 } });
  const waiting = startCurl(
    post(`${up.daxd.url}/v1/partitions/pmem0p1/truncate`, { path: 'a', size: 0 }),
  );
  await pollUntil(async () => (await leaseOf(up.daxd, up.lease.id)).state === 'recalling');
  const url = `${up.daxd.url}/v1/leases/${up.lease.id}/renew`;
  const renew = async (): Promise<number> => {
    const answer = await fetch(url, { method: 'POST' });
    await answer.arrayBuffer();
    return answer.status;
  };
  t.equal(await renew(), 200);
  up.daxd.child.kill('SIGSTOP');
  const sent = Promise.all([renew(), renew()]);
  // Longer than its ttl.
  await setTimeout(3000);
  up.daxd.child.kill('SIGCONT');
  t.strictSame(await sent, [200, 200]);
  t.equal(await renew(), 200);
  t.equal((await leaseOf(up.daxd, up.lease.id)).state, 'recalling');
  t.strictSame(up.calls(), [], 'nobody was fenced');
  await curl('-X', 'DELETE', `${up.daxd.url}/v1/leases/${up.lease.id}`);
  t.equal((await waiting.answer).status, 200);
});
