import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { encodeKept } from '../../../src/lease/lease-record.js';
import { REMEMBERED_MS } from '../../../src/lease/limits.js';
import { LmdbStore } from '../../../src/lease/lmdb-store.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { scratchDirectory } from '../../support/ext4-image.js';
import { requires } from '../../support/requires.js';
import { spawnScript } from '../media/children.js';
import { mountSmallTmpfs } from '../media/mounts.js';
import { endOf, recordOf } from './records.js';

const HEADER = { media: 'namespace', bootId: 'boot', startsMs: [1, 2] };

const flipped = (at: number, value: Buffer) => (path: string) => {
  const bytes = readFileSync(path);
  value.copy(bytes, at);
  writeFileSync(path, bytes);
};

function whatever(work: () => number): number | string {
  try {
    return work();
  } catch (error) {
    return error instanceof DaxdError ? error.code : String(error);
  }
}

function ids(store: LmdbStore): string[] {
  return [...store.stored()].map(({ record }) => record.terms.id);
}

/** Which of them a store knows the end of. */
function known(store: LmdbStore, names: readonly string[]): string {
  return names.filter((id) => store.tombstone(id) !== undefined).join('');
}

t.test('a store: what was committed is there when it is opened again', async (t) => {
  const directory = join(scratchDirectory(t), 'not', 'made');
  const store = LmdbStore.open(directory);
  t.equal(store.header, undefined);
  await Promise.all([
    store.commit([{ kind: 'header', header: HEADER }]),
    ...['b', 'a', 'c'].map((id) =>
      store.commit([{ kind: 'put', record: recordOf(id), deadlineMs: 5 }]),
    ),
  ]);
  await store.commit([
    { kind: 'remove', id: 'b' },
    { kind: 'deadline', id: 'c', deadlineMs: 7.5 },
  ]);
  t.throws(() => LmdbStore.open(directory), { code: 'EBUSY' }, 'one daemon a store');
  await store.close();

  const again = LmdbStore.open(directory);
  t.match(again.header, HEADER);
  t.strictSame(
    [...again.stored()],
    [
      { record: recordOf('a'), deadlineMs: 5 },
      { record: recordOf('c'), deadlineMs: 7.5 },
    ],
  );
  t.equal(statSync(directory).mode & 0o777, 0o700);
  await again.close();
});

t.test('a store: a killed process loses nothing that it was told is durable', async (t) => {
  const directory = scratchDirectory(t);
  for (let round = 0; round < 3; round++) {
    const under = join(directory, String(round));
    const script = '../lease/commit-child.ts';
    const child = spawnScript(script, {}, under);
    let said = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.length > 4_000 * (round + 1)) child.kill('SIGKILL');
    });
    await once(child, 'close');
    const kept = new Set<string>();
    const gone = new Set<string>();
    for (const line of said.split('\n').slice(0, -1)) {
      (line.startsWith('+') ? kept : gone).add(line.slice(1));
    }
    for (const id of gone) kept.delete(id);
    const store = LmdbStore.open(under);
    const found = new Set(ids(store));
    t.ok(kept.size > 20, `${kept.size} kept, ${gone.size} removed`);
    // The last change of each writer may have become durable before it was told.
    const lost = [...kept].filter((id) => !found.has(id));
    t.ok(lost.length <= 16, 'removed, and not told yet');
    t.notOk(
      lost.some((id) => Number(id.slice(0, 6)) % 3 === 0),
      'every third is never removed',
    );
    t.strictSame(
      [...gone].filter((id) => found.has(id)),
      [],
      'what was removed stays away',
    );
    await store.close();
  }
});

t.test('a store: damage is refused with the way out, and never a crash', async (t) => {
  const directory = scratchDirectory(t);
  const whole = join(directory, 'whole');
  const store = LmdbStore.open(whole);
  await store.commit([{ kind: 'header', header: HEADER }]);
  for (let count = 0; count < 300; count++) {
    const id = String(count).padStart(4, '0');
    await store.commit([{ kind: 'put', record: recordOf(id), deadlineMs: 5 }]);
  }
  await store.close();
  const damaged = (name: string, damage: (path: string) => void): void => {
    const copy = join(directory, name);
    mkdirSync(copy);
    const path = join(copy, 'leases.mdb');
    copyFileSync(join(whole, 'leases.mdb'), path);
    damage(path);
    const before = readFileSync(path);
    t.throws(
      () => {
        ids(LmdbStore.open(copy));
      },
      { code: 'EBADMSG', message: /move the directory away/ },
      name,
    );
    t.ok(readFileSync(path).equals(before), 'not a byte changed');
  };
  const { size } = statSync(join(whole, 'leases.mdb'));
  for (const bytes of [1, 4096, 8191, 8192, 16384]) {
    damaged(`cut at ${bytes}`, (path) => {
      truncateSync(path, bytes);
    });
  }
  for (let page = 2; page < size / 4096; page++) {
    // Pages that are free by now say nothing: what is read then is whole.
    const copy = join(directory, `without ${page}`);
    mkdirSync(copy);
    const bytes = readFileSync(join(whole, 'leases.mdb'));
    writeFileSync(join(copy, 'leases.mdb'), bytes.fill(0, page * 4096, (page + 1) * 4096));
    const found = whatever(() => {
      const open = LmdbStore.open(copy);
      const count = ids(open).length;
      void open.close();
      return count;
    });
    if (found !== 300 && found !== 'EBADMSG') t.fail(`page ${page} is gone: ${found}`);
  }
  damaged('magic', flipped(24, Buffer.from('bad!')));
  damaged('format', flipped(4096 + 28, Buffer.from([7])));
  damaged('root', (path) => {
    for (const meta of [0, 4096]) flipped(meta + 136, Buffer.alloc(7, 0x7f))(path);
  });
  damaged('zeros', flipped(0, Buffer.alloc(8192)));
  damaged('a record', (path) => {
    const bytes = readFileSync(path);
    for (let at = bytes.indexOf('nic0'); at >= 0; at = bytes.indexOf('nic0', at + 1)) {
      bytes.write('nic1', at);
    }
    writeFileSync(path, bytes);
  });
});

t.test('a store: one that a newer daxd wrote is refused', async (t) => {
  const directory = scratchDirectory(t);
  const store = LmdbStore.open(directory);
  await store.commit([{ kind: 'header', header: HEADER }]);
  await store.close();
  const path = join(directory, 'leases.mdb');
  const bytes = readFileSync(path);
  const [now, newer] = [1, 9].map((version) => encodeKept({ version, ...HEADER }));
  const at = bytes.indexOf(now ?? '');
  t.ok(at > 0);
  bytes.write(newer ?? '', at);
  writeFileSync(path, bytes);
  t.throws(() => LmdbStore.open(directory), { code: 'EBADMSG', message: /newer daxd/ });
});

t.test('a store: remembers ends, the newest, for a day', async (t) => {
  const directory = scratchDirectory(t);
  const names = 'abcdefgh'.split('');
  let store = LmdbStore.open(directory, 4);
  await Promise.all(names.slice(0, 2).map((id) => store.commit([endOf(id, 1)])));
  t.match(store.tombstone('a'), { terms: { id: 'a', client: 'nic0' }, state: 'released' });
  t.equal(store.tombstone('z'), undefined);
  t.equal(store.tombstone(''), undefined);
  for (const id of names.slice(2, 5)) await store.commit([endOf(id, 2)]);
  t.equal(known(store, names), 'cde', 'the first two came together, and went together');
  await store.close();

  store = LmdbStore.open(directory, 4);
  t.equal(known(store, names), 'cde', 'across a restart');
  await store.commit([endOf('f', 3)]);
  await store.commit([endOf('g', 4)]);
  t.equal(known(store, names), 'defg');
  await store.commit([endOf('h', 4 + REMEMBERED_MS - 1)]);
  t.equal(known(store, names), 'gh', 'older than a day');
  await store.close();

  store = LmdbStore.open(directory);
  t.equal(known(store, names), 'gh');
  t.strictSame(ids(store), [], 'an end is no lease');
  await store.close();

  store = LmdbStore.open(directory, 3);
  const key = { id: 'k', fingerprint: 'f', lease: 'i', grantedMs: 4 + REMEMBERED_MS };
  await store.commit([
    { kind: 'put', record: recordOf('i'), deadlineMs: 5 },
    { kind: 'key', key },
  ]);
  await store.close();
  store = LmdbStore.open(directory, 3);
  t.strictSame(store.grantOf('k'), key);
  t.equal(store.grantOf('none'), undefined);
  t.equal(known(store, names), 'h', 'keys and ends have one bound and one age');
  for (const id of names.slice(0, 3)) await store.commit([endOf(id, 5 + REMEMBERED_MS)]);
  t.equal(store.grantOf('k'), undefined);
  t.equal(known(store, names), 'abc');
  t.strictSame(ids(store), ['i'], 'its lease stays');
  await store.close();
});

t.test('a store: drops a bounded part of what is too much at once', async (t) => {
  const directory = scratchDirectory(t);
  const many = Array.from({ length: 200 }, (_, i) => String(i).padStart(3, '0'));
  let store = LmdbStore.open(directory);
  for (const id of many) await store.commit([endOf(id, 1)]);
  await store.close();
  store = LmdbStore.open(directory, 10);
  const count = (): number => many.filter((id) => store.tombstone(id) !== undefined).length;
  t.equal(count(), 200);
  const counts = [];
  for (let round = 0; round < 13; round++) {
    await store.commit([endOf(`z${round}`, 2)]);
    counts.push(count());
  }
  t.strictSame(counts.slice(0, 3), [182, 164, 146]);
  t.equal(counts.at(-1), 0, 'and comes down to the bound');
  t.ok(store.tombstone('z12') !== undefined);
  await store.close();
});

t.test('a store: a damaged end is refused alone, and dropped in its time', async (t) => {
  const directory = scratchDirectory(t);
  let store = LmdbStore.open(directory, 2);
  await store.commit([endOf('lost', 1)]);
  await store.commit([endOf('kept', 1)]);
  await store.close();
  const path = join(directory, 'leases.mdb');
  const bytes = readFileSync(path);
  // The end itself, and the round that says when it came.
  for (const text of ['"id":"lost"', '"ids":["lost"]']) {
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
      bytes.write(text.replace('lost', 'last'), at);
    }
  }
  writeFileSync(path, bytes);
  store = LmdbStore.open(directory, 2);
  t.throws(() => store.tombstone('lost'), { code: 'EBADMSG', message: /tombstone of lease lost/ });
  t.match(store.tombstone('kept'), { state: 'released' });
  await store.commit([endOf('next', 2)]);
  t.match(store.tombstone('next'), { state: 'released' });
  await store.close();
});

t.test('a store: the largest fencing token outlives its lease', async (t) => {
  const directory = scratchDirectory(t);
  let store = LmdbStore.open(directory);
  t.equal(store.fencingToken, 0);
  const put = (id: string, token: number): Promise<void> =>
    store.commit([{ kind: 'put', record: recordOf(id, 'nic0', token), deadlineMs: 1 }]);
  await Promise.all([put('b', 7), put('a', 6)]);
  t.equal(store.fencingToken, 7);
  await put('a', 6);
  await store.commit([{ kind: 'remove', id: 'b' }]);
  await store.close();
  store = LmdbStore.open(directory);
  t.equal(store.fencingToken, 7);
  await store.close();
});

t.test('a store: in a directory that cannot be made', async (t) => {
  const directory = scratchDirectory(t);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  t.throws(() => LmdbStore.open(join(file, 'below')), { code: 'ENOTDIR', message: /--state-dir/ });
});

t.test('a store: on a full disk grants are refused, and removals go through', async (t) => {
  if (!requires(t, { commands: ['mount'], root: true })) return;
  const directory = join(mountSmallTmpfs(t), 'state');
  const store = LmdbStore.open(directory);
  const put = (id: string): Promise<void> =>
    store.commit([{ kind: 'put', record: recordOf(id, 'x'.repeat(2_000)), deadlineMs: 1 }]);
  const kept: string[] = [];
  let failure: unknown;
  for (let count = 0; failure === undefined && count < 5_000; count++) {
    const id = String(count).padStart(6, '0');
    try {
      await put(id);
      kept.push(id);
    } catch (error) {
      failure = error;
    }
  }
  t.match(failure, { code: 'ENOSPC', message: /make room/ });
  t.ok(failure instanceof DaxdError);
  t.ok(kept.length > 100, `${kept.length} fitted`);
  // A grant and releases at once: the releases are not lost with it.
  const [grant, ...removals] = await Promise.allSettled([
    put('zzz'),
    ...kept.slice(0, 50).map((id) => store.commit([{ kind: 'remove', id }, endOf(id, 1)])),
  ]);
  t.equal(grant.status, 'rejected');
  for (const removal of removals) t.equal(removal.status, 'fulfilled');
  for (const id of kept.slice(50, 100)) await store.commit([{ kind: 'remove', id }]);
  await put('zzz');
  await store.close();
  const again = LmdbStore.open(directory);
  t.strictSame(ids(again), [...kept.slice(100), 'zzz']);
  t.equal(again.tombstone('000000'), undefined, 'there was no room to remember its end');
  await again.close();
});
