import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { toyDaemon } from '../integration/client/set-up.js';
import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, post, runVerb, startCurl, startDaxd, until } from './daxd.js';

const BIN = resolve('bin/daxd.js');

async function setUp(t: Test) {
  const backing = join(temporaryDirectory(t), 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', backing, '--size', '64M', '--init']);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  await curl('-X', 'PUT', '--data-binary', 'hello world', `${p1}/files/a`);
  const run = (...args: string[]) => runVerb(daxd.url, ['lease', 'run', '--path', 'a', ...args]);
  const leases = async () => (await curl(`${daxd.url}/v1/leases`)).json.leases;
  return { backing, daxd, p1, run, leases };
}

t.test(
  'lease run: the command has a lease in its environment, and its exit is the exit',
  async (t) => {
    if (!requires(t, { commands: ['curl', 'dd'] })) return;
    const { backing, daxd, run, leases } = await setUp(t);
    const script =
      'IFS=: read at length <<E\n$DAXD_EXTENTS\nE\n' +
      'dd if="$DAXD_BACKING" bs=1 skip=$at count=$length 2>/dev/null; echo; echo "$DAXD_LEASE"; exit 7';
    const read = run('--', 'sh', '-c', script);
    t.equal(read.exit, 7);
    const [content, lease = '{}'] = read.stdout.split('\n');
    t.equal(content, 'hello world', 'what lies there in the backing is the file');
    t.match(JSON.parse(lease), {
      backing_path: backing,
      extents: [{ file_offset: 0, length: 11 }],
    });
    t.strictSame(await leases(), [], 'given back');

    t.equal(
      run('--offset', '6', '--', 'sh', '-c', 'echo $DAXD_EXTENTS').stdout.split(':')[1],
      '5\n',
    );
    const held = run('--access', 'write', '--', process.execPath, BIN, 'holders', 'a', '--json');
    t.match(JSON.parse(held.stdout), [{ access: 'write', path: 'a', state: 'active' }]);
    t.equal(run('--', 'sh', '-c', 'kill -9 $$').exit, 128 + 9);
    const missing = run('--', '/no/such/command');
    t.equal(missing.exit, 127);
    t.match(missing.stderr, /ENOENT/);
    t.match(run('--', '/etc/passwd/x'), {
      exit: 126,
      stderr: /^daxd: \/etc\/passwd\/x: .*ENOTDIR/,
    });
    t.strictSame(await leases(), [], 'of one that never ran, too');

    t.equal(run().exit, 2, 'no command');
    t.match(run('--', ''), { exit: 2, stderr: /^daxd: name a command to run/ });
    t.equal(run('--access', 'none', '--', 'true').exit, 2);
    t.equal(run('--ttl', 'long', '--', 'true').exit, 2);
    const refused = run('--offset', '1M', '--length', '1', '--', 'true');
    t.equal(refused.exit, 1);
    t.match(refused.stderr, /EINVAL/);
    t.equal(
      runVerb('unix:/nowhere/x', [
        'lease',
        'run',
        '-p',
        'x',
        '--path',
        'a',
        '--length',
        '1',
        '--',
        'true',
      ]).exit,
      69,
    );
    t.equal(await daxd.stop(), 0);
  },
);

t.test('lease run: it is renewed, told of what waits, and passes signals on', async (t) => {
  if (!requires(t, { commands: ['curl', 'sh', 'sleep'] })) return;
  const { daxd, p1, leases } = await setUp(t);
  const script = 'trap "echo caught; exit 3" TERM; echo ready; while :; do sleep 0.1; done';
  const args = ['lease', 'run', '--path', 'a', '--ttl', '6s', '--', 'sh', '-c', script];
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { ...process.env, DAXD_URL: daxd.url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const exited = once(child, 'close');
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  await once(child.stdout, 'data');
  const [lease] = await leases();
  // Longer than its ttl.
  await sleep(7_500);
  const giveUp = AbortSignal.timeout(10_000);
  const truncate = startCurl(post(`${p1}/truncate`, { path: 'a', size: 0 }));
  await until(
    async () => stderr,
    (told) => told.includes('truncate') || child.exitCode !== null || giveUp.aborted,
  );
  t.match(stderr, /^daxd: truncate \w+ waits for the lease to end$/m);
  t.match(await leases(), [{ id: lease.id, state: 'recalling' }]);
  child.kill('SIGTERM');
  const [code] = await exited;
  t.equal(code, 3, 'what the command made of the signal');
  t.match(stdout, 'caught');
  t.equal((await truncate.answer).status, 200, 'it was given back');
});

t.test('lease run: --wait is for changes that are pending there', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { daxd, p1, run, leases } = await setUp(t);
  const asked = { partition: 'pmem0p1', path: 'a', offset: 0, length: 11, access: 'read' };
  const held = post(`${daxd.url}/v1/leases`, { ...asked, ttl_ms: 600_000 });
  const { id } = (await curl(...held)).json;
  const truncate = startCurl(post(`${p1}/truncate`, { path: 'a', size: 5 }));
  await until(leases, ([lease]) => lease.state === 'recalling');

  const refused = { exit: 1, stdout: '', stderr: /^daxd: recall-conflict: / };
  t.match(run('--', 'echo', 'no'), refused, 'not at all by default');
  t.match(run('--wait', '100ms', '--', 'echo', 'no'), refused);
  t.match(run('--wait', 'soon', '--', 'echo', 'no'), { exit: 2, stderr: /^daxd: --wait: "soon"/ });
  const args = [
    'lease',
    'run',
    '--path',
    'a',
    '--length',
    '5',
    '--wait',
    '5m',
    '--',
    'echo',
    'yes',
  ];
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { ...process.env, DAXD_URL: daxd.url },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const printed = text(child.stdout);
  t.equal(await Promise.race([printed, sleep(1_000, 'waits')]), 'waits');
  await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${id}`);
  t.equal((await truncate.answer).status, 200);
  t.equal(await printed, 'yes\n', 'behind the change');
});

t.test('lease run: a lost lease ends the command', async (t) => {
  if (!requires(t, { commands: ['curl', 'sleep'] })) return;
  const { daxd, leases } = await setUp(t);
  const child = spawn(process.execPath, [BIN, 'lease', 'run', '--path', 'a', '--', 'sleep', '60'], {
    env: { ...process.env, DAXD_URL: daxd.url },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const exited = once(child, 'close');
  const [lease] = await until(leases, (list) => list.length > 0);
  await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`);
  const [code] = await exited;
  t.equal(code, 128 + 15);
});

t.test(
  'lease run: pages that went into quarantine are free when the command has ended',
  async (t) => {
    if (!requires(t, { commands: ['curl', 'sh', 'sleep'] })) return;
    const { daxd, p1 } = await setUp(t);
    const script = 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done';
    const args = ['lease', 'run', '--path', 'a', '--ttl', '1s', '--', 'sh', '-c', script];
    const child = spawn(process.execPath, [BIN, ...args], {
      env: { ...process.env, DAXD_URL: daxd.url },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const exited = once(child, 'close');
    await once(child.stdout, 'data');
    const deferred = post(`${p1}/truncate`, { path: 'a', size: 0, on_conflict: 'defer' });
    t.match(await curl(...deferred), { status: 200, json: { quarantined_bytes: 4096 } });
    const [code] = await exited;
    t.equal(code, 9, 'it was told to end');
    t.strictSame((await curl(`${daxd.url}/v1/quarantine`)).json.quarantine, []);
  },
);

/** `lease run -- CMD` of a lease that needs no other call. */
function runOnToy(t: Test, url: string, command: readonly string[]) {
  const range = ['--path', 'a', '-p', 'p1', '--length', '1'];
  const child = spawn(process.execPath, [BIN, 'lease', 'run', ...range, '--', ...command], {
    env: { ...process.env, DAXD_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return { child, stdout: text(child.stdout), stderr: text(child.stderr) };
}

t.test('lease run: a signal before the command runs leaves no lease behind', async (t) => {
  const toy = await toyDaemon(t);
  // Granted at the fifth try, a tenth of a second after each.
  toy.grants.push(null, null, null, null);
  const { child, stdout } = runOnToy(t, toy.url, ['echo', 'ran']);
  const exited = once(child, 'exit');
  await until(
    async () => sleep(5, toy.grants.length),
    (left) => left < 4,
  );
  child.kill('SIGTERM');
  t.strictSame(await exited, [128 + 15, null]);
  t.match(toy.calls.at(-1), { method: 'DELETE', path: '/v1/leases/L1' }, 'given back');
  t.equal(await stdout, '', 'it did not run');
});

t.test('lease run: who sends two signals does not wait for the daemon', async (t) => {
  const toy = await toyDaemon(t);
  for (let i = 0; i < 100; i++) toy.grants.push(null);
  const { child } = runOnToy(t, toy.url, ['true']);
  const exited = once(child, 'exit');
  await until(
    async () => sleep(5, toy.grants.length),
    (left) => left < 100,
  );
  child.kill('SIGINT');
  // One try may have begun before the signal came, the next one has not.
  const left = toy.grants.length - 2;
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  await until(
    async () => sleep(5, toy.grants.length <= left || hasEnded()),
    (isOver) => isOver,
  );
  t.equal(hasEnded(), false, 'it still asks for its lease');
  child.kill('SIGINT');
  t.strictSame(await exited, [null, 'SIGINT']);
});

t.test('lease run: a lease that cannot be given back is told, and the exit stays', async (t) => {
  if (!requires(t, { commands: ['sh'] })) return;
  const toy = await toyDaemon(t);
  toy.remove = 403;
  const { child, stderr } = runOnToy(t, toy.url, ['sh', '-c', 'exit 7']);
  t.strictSame(await once(child, 'exit'), [7, null]);
  t.match(
    await stderr,
    /^daxd: lease L1 is not given back and keeps its pages .*: daxd answered 403$/m,
  );
});
