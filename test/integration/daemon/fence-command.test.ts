import { chmodSync, closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { FenceCommand } from '../../../src/daemon/fence-command.js';
import { Lease } from '../../../src/lease/lease.js';
import { FENCES_MAX, LEASE_EXTENTS_MAX } from '../../../src/lease/limits.js';
import { systemClock } from '../../../src/lib/clock.js';
import { systemCodeOf } from '../../../src/lib/errno.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { recordOf } from '../lease/records.js';

/** A fence command of these lines of shell, which notes its environment and its input. */
async function setUp(
  t: Test,
  lines: readonly string[] = [],
  options: Parameters<typeof FenceCommand.open>[1] = {},
) {
  const directory = scratchDirectory(t);
  const program = join(directory, 'fence');
  writeFileSync(program, ['#!/bin/sh', `cd ${directory}`, ...lines, ''].join('\n'));
  chmodSync(program, 0o755);
  const noted = (name: string): string => readFileSync(join(directory, name), 'utf8');
  const note = (name: string): void => {
    writeFileSync(join(directory, name), '');
  };
  return { program, noted, note, command: await FenceCommand.open(program, options) };
}

function leaseOf(client: string, extents = 1): Lease {
  const { terms } = recordOf('01J', client);
  const ranges = [{ offset: 0, length: 4096 }];
  const runs = Array.from({ length: extents }, (_, i) => ({
    offset: i * 4096,
    deviceOffset: 2 ** 40 + 2 * i * 4096,
    length: 4096,
  }));
  const place = { backingPath: '(memory)', clock: systemClock };
  return new Lease(
    terms,
    { state: 'quarantined', holding: { ranges, runs }, deadlineMs: 0 },
    place,
  );
}

const NOTING = ['cat > input', 'env > environment', 'echo "port 3 is shut"'];

t.test('fence: the command is told of the lease on its input and in its environment', async (t) => {
  const { command, noted } = await setUp(t, NOTING);
  t.strictSame(await command.fence(leaseOf('nic 0', 2)), {
    isFenced: true,
    detail: 'port 3 is shut',
  });
  const at = 2 ** 40;
  t.strictSame(JSON.parse(noted('input')), {
    lease: '01J',
    client: 'nic 0',
    pid: 7,
    extents: [
      { device_offset: at, length: 4096 },
      { device_offset: at + 8192, length: 4096 },
    ],
  });
  const environment = noted('environment').split('\n');
  t.ok(environment.includes('DAXD_CLIENT=nic 0'));
  t.ok(environment.includes(`DAXD_EXTENTS=${at}:4096,${at + 8192}:4096`));
});

t.test('fence: no client gives the command an option by its name', async (t) => {
  const { command, noted } = await setUp(t, ['echo "$#" "$*" > given', 'env > environment']);
  for (const client of ['--help', '-h', '-']) {
    t.match(await command.fence(leaseOf(client)), { isFenced: true });
    t.equal(noted('given'), '1 01J\n', client);
    t.ok(noted('environment').split('\n').includes(`DAXD_CLIENT=${client}`));
  }
  t.match(await command.fence(leaseOf('a -b')), { isFenced: true });
  t.equal(noted('given'), '2 01J a -b\n');
});

t.test('fence: a lease of as many extents as there may be', async (t) => {
  const { command, noted } = await setUp(t, NOTING);
  const fenced = await command.fence(leaseOf('nic0', LEASE_EXTENTS_MAX));
  t.match(fenced, { isFenced: true, detail: 'port 3 is shut' });
  t.equal(JSON.parse(noted('input')).extents.length, LEASE_EXTENTS_MAX);
  t.notMatch(noted('environment'), /DAXD_EXTENTS/);
});

t.test('fence: a command that does not read its input', async (t) => {
  const { command } = await setUp(t, ['exec <&-', 'sleep 0.1']);
  t.match(await command.fence(leaseOf('nic0', LEASE_EXTENTS_MAX)), { isFenced: true });
});

t.test('fence: a command that takes too long is killed, and fences nobody', async (t) => {
  const { command } = await setUp(t, ['echo asking', 'exec sleep 60'], { limitMs: 500 });
  const detail = /^killed after 500 ms/;
  t.match(await command.fence(leaseOf('nic0')), { isFenced: false, detail });
});

t.test('fence: a command that a signal or a failure ends fences nobody', async (t) => {
  for (const line of ['kill -9 $$', 'kill -TERM $$', 'exit 1']) {
    const { command } = await setUp(t, ['echo "port 3 is shut"', line]);
    t.match(await command.fence(leaseOf('nic0')), { isFenced: false }, line);
  }
});

t.test('open: what is no program is refused at the start', async (t) => {
  const directory = scratchDirectory(t);
  writeFileSync(join(directory, 'text'), 'no program', { mode: 0o644 });
  for (const [name, code] of [
    ['', 'EACCES'],
    ['text', 'EACCES'],
    ['none', 'ENOENT'],
  ] as const) {
    const message = /cannot be run: name a program/;
    await t.rejects(FenceCommand.open(join(directory, name)), { code, message });
  }
});

t.test('fence: a command that cannot be started fences nobody, and never rejects', async (t) => {
  const { program, command } = await setUp(t);
  const detail = /fence was not started: .*null bytes/;
  t.match(await command.fence(leaseOf('nic\0')), { isFenced: false, detail });

  const fd = openSync(program, 'r+');
  const busy = await command.fence(leaseOf('nic0'));
  closeSync(fd);
  t.match(busy, { isFenced: false, detail: /ETXTBSY/ });
  t.match(await command.fence(leaseOf('nic0')), { isFenced: true }, 'its turn is given back');
});

t.test('fence: a command that takes too long is killed with what it started', async (t) => {
  const lines = ['sleep 60 & echo $! > started', 'wait'];
  const { command, noted } = await setUp(t, lines, { limitMs: 3_000 });
  t.match(await command.fence(leaseOf('nic0')), { isFenced: false, detail: /^killed/ });
  const pid = Number(noted('started'));
  while (isAlive(pid)) await setTimeout(10);
});

t.test('fence: what a command leaves behind keeps nobody waiting', async (t) => {
  const { command, noted } = await setUp(t, ['sleep 60 & echo $! > started', 'echo done']);
  t.strictSame(await command.fence(leaseOf('nic0')), { isFenced: true, detail: 'done' });
  process.kill(Number(noted('started')));
});

t.test('fence: a command may print as much as it likes', async (t) => {
  const { command } = await setUp(t, ['head -c 3000000 /dev/zero | tr "\\\\0" x', 'exit 0']);
  const { isFenced, detail } = await command.fence(leaseOf('nic0'));
  t.ok(isFenced, detail.slice(0, 100));
  t.equal(detail, 'x'.repeat(1024));
});

t.test('fence: a client whose fences hang holds up no other', async (t) => {
  const { command } = await setUp(t, ['[ "$2" = dead ] && exec sleep 60', 'exit 0']);
  const hung = Array.from({ length: 100 }, () => command.fence(leaseOf('dead')));
  const others = Array.from({ length: 20 }, (_, i) => command.fence(leaseOf(`nic${i % 5}`)));
  for (const outcome of await Promise.all(others)) t.match(outcome, { isFenced: true });
  command.stop();
  for (const outcome of await Promise.all(hung)) t.match(outcome, { isFenced: false });
});

t.test('stop: what runs is killed, and what waits is over at once', async (t) => {
  const { command, noted, note } = await setUp(t, ['echo >> begun', 'exec sleep 60']);
  note('begun');
  const asked = Array.from({ length: 100 }, (_, i) => command.fence(leaseOf(`nic${i % 10}`)));
  while (noted('begun').length < FENCES_MAX) await setTimeout(20);
  command.stop();
  for (const outcome of await Promise.all(asked)) {
    t.match(outcome, { isFenced: false, detail: /daxd ends/ });
  }
  t.equal(noted('begun').length, FENCES_MAX);
  t.match(await command.fence(leaseOf('nic0')), { isFenced: false, detail: /daxd ends/ });
});

/** One that has ended may have nobody who waits for it: that is no life. */
function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

t.test('fence: no descriptor left is a try that failed', async (t) => {
  const { command } = await setUp(t);
  const taken = allDescriptors();
  const outcome = await command.fence(leaseOf('nic0')).finally(() => {
    for (const fd of taken) closeSync(fd);
  });
  t.match(outcome, { isFenced: false, detail: /was not started: .*EMFILE/ });
  t.match(await command.fence(leaseOf('nic0')), { isFenced: true }, 'the next one goes through');
});

function allDescriptors(): number[] {
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'));
  } catch (error) {
    if (systemCodeOf(error) !== 'EMFILE') throw error;
    return taken;
  }
}
