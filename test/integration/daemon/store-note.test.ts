import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  linkSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { requires } from '../../support/requires.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';
import { openDaemon } from './set-up.js';
import type { OpenDaemon } from './set-up.js';

const LEASE = { partition: 'pmem0p1', path: 'a', offset: 0, length: 4096, access: 'read' };

/** A backing whose file `a` is leased, and which no daemon has open. */
async function leasedBacking(t: Test): Promise<{ backing: string; directory: string; id: string }> {
  const directory = temporaryDirectory(t);
  const backing = join(directory, 'pmem0.img');
  const daemon = await openDaemon(t, { backing, size: '64M', init: true });
  await daemon.put('/v1/partitions/pmem0p1/files/a', 'x'.repeat(4096));
  const { status, body } = await daemon.post('/v1/leases', { ...LEASE, ttl_ms: 60_000 });
  t.equal(status, 201);
  await daemon.close();
  return { backing, directory, id: body.id };
}

async function leasesOf({ get }: OpenDaemon): Promise<string[]> {
  const { body } = await get('/v1/leases');
  return body.leases.map(({ id, state }: { id: string; state: string }) => `${id} ${state}`);
}

/** The note on a file, as another program reads it; undefined where there is none. */
function noteOn(path: string): string | undefined {
  const { status, stdout } = spawnSync(
    'python3',
    ['-c', 'import os, sys; print(os.getxattr(sys.argv[1], "user.daxd.leases").decode())', path],
    { encoding: 'utf8' },
  );
  return status === 0 ? stdout.trim() : undefined;
}

t.test('a backing under another name is not started without its leases', async (t) => {
  if (!requires(t, { userXattrs: true })) return;
  const { backing, directory, id } = await leasedBacking(t);
  const moved = join(directory, 'moved.img');
  const linked = join(directory, 'linked.img');
  linkSync(backing, linked);
  renameSync(backing, moved);
  for (const path of [moved, linked]) {
    await t.rejects(openDaemon(t, { backing: path }), {
      code: 'EBUSY',
      message: new RegExp(`kept in ${backing}.leases, not in ${path}.leases`),
    });
    t.notOk(existsSync(`${path}.leases`), 'nothing is made there');
  }
  // An empty store there is as wrong.
  const other = join(directory, 'other');
  const unrelated = await openDaemon(t, {
    backing: join(directory, 'unrelated.img'),
    size: '64M',
    init: true,
    stateDir: other,
  });
  await unrelated.close();
  await t.rejects(openDaemon(t, { backing: moved, stateDir: other }), { code: 'EBUSY' });

  const named = await openDaemon(t, { backing: moved, stateDir: `${backing}.leases` });
  t.strictSame(await leasesOf(named), [`${id} reclaimable`]);
  await named.close();
  renameSync(`${backing}.leases`, `${moved}.leases`);
  const both = await openDaemon(t, { backing: moved });
  t.strictSame(await leasesOf(both), [`${id} reclaimable`], 'moved along');
});

t.test('a store that was moved away by hand is forgotten, with its directory', async (t) => {
  const { backing } = await leasedBacking(t);
  rmSync(`${backing}.leases`, { recursive: true });
  const daemon = await openDaemon(t, { backing });
  t.strictSame(await leasesOf(daemon), []);
  await daemon.close();
  await (await openDaemon(t, { backing })).close();
});

t.test('a store that is gone from its directory is missed', async (t) => {
  if (!requires(t, { userXattrs: true })) return;
  const { backing, directory, id } = await leasedBacking(t);
  const stateDir = `${backing}.leases`;
  const store = join(stateDir, 'leases.mdb');
  const kept = join(directory, 'kept.mdb');
  copyFileSync(store, kept);
  const code = 'EBUSY';
  const message = /kept in .*, in a store that is not there .* move the directory away/;
  const missed = async (what: string): Promise<void> => {
    for (const options of [{ backing }, { backing, stateDir }]) {
      await t.rejects(openDaemon(t, options), { code, message }, what);
    }
  };
  truncateSync(store, 0);
  await missed('emptied');
  rmSync(store);
  await missed('as where its filesystem is not mounted yet');
  const other = await openDaemon(t, {
    backing: join(directory, 'other.img'),
    size: '64M',
    init: true,
    stateDir,
  });
  await other.close();
  await missed('another one in its place');

  copyFileSync(kept, store);
  t.strictSame(await leasesOf(await openDaemon(t, { backing })), [`${id} reclaimable`]);
});

t.test('a state directory that is moved away is missed by nobody, either', async (t) => {
  const { backing, directory } = await leasedBacking(t);
  const stateDir = `${backing}.leases`;
  renameSync(stateDir, join(directory, 'away'));
  const daemon = await openDaemon(t, { backing, stateDir });
  t.strictSame(await leasesOf(daemon), []);
});

t.test('a copy is other memory, with leases of its own', async (t) => {
  if (!requires(t, { commands: ['cp'], userXattrs: true })) return;
  const { backing, directory } = await leasedBacking(t);
  const copy = join(directory, 'copy.img');
  t.equal(spawnSync('cp', ['-a', '--sparse=always', backing, copy]).status, 0);
  t.equal(noteOn(copy), noteOn(backing), 'copied with its attributes');
  t.strictSame(await leasesOf(await openDaemon(t, { backing: copy })), []);
});

t.test('the note is there while leases are kept, and no longer', async (t) => {
  if (!requires(t, { userXattrs: true })) return;
  const { backing, directory, id } = await leasedBacking(t);
  t.match(noteOn(backing), ` ${backing}.leases`);
  const daemon = await openDaemon(t, { backing });
  await daemon.remove(`/v1/leases/${id}`);
  await daemon.close();
  t.equal(noteOn(backing), undefined);
  const moved = join(directory, 'moved.img');
  renameSync(backing, moved);
  t.strictSame(await leasesOf(await openDaemon(t, { backing: moved })), []);
});

t.test('start: a file is no place for leases', async (t) => {
  const directory = temporaryDirectory(t);
  const backing = join(directory, 'pmem0.img');
  const stateDir = join(directory, 'file');
  writeFileSync(stateDir, '');
  const options = { backing, size: '64M', init: true };
  await t.rejects(openDaemon(t, { ...options, stateDir }), { code: 'ENOTDIR' });
  const below = join(directory, 'made', 'for', 'nothing');
  await t.rejects(openDaemon(t, { ...options, stateDir: below, mount: 'x' }), { code: 'EINVAL' });
  t.strictSame(readdirSync(directory), ['file'], 'nothing is left of the tries');
});
