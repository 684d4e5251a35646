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

import { open } from 'lmdb';
import t from 'tap';

import { LmdbStore } from '../../../src/lease/lmdb/lmdb-store.js';
import { summedBytes } from '../../../src/lease/lmdb/summed-bytes.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { spawnScript } from '../media/children.js';
import { recordOf } from './records.js';

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

function headerOf(version: number): Buffer {
  return Buffer.from(JSON.stringify({ version, ...HEADER }));
}

function ids(store: LmdbStore): string[] {
  return [...store.stored()].map(({ record }) => record.terms.id);
}

t.test('a store: how a partition was left', async (t) => {
  const directory = scratchDirectory(t);
  const media = { partition: 'guid', filesystem: 'uuid', writtenSeconds: 7, mountCount: 3 };
  const store = LmdbStore.open(directory);
  t.equal(store.left('pmem0p1'), undefined);
  await store.commit([{ kind: 'left', partition: 'pmem0p1', media: { partition: 'guid' } }]);
  await store.commit([{ kind: 'left', partition: 'pmem0p1', media }]);
  t.ok(store.isEmpty, 'that keeps no lease');
  await store.close();
  const again = LmdbStore.open(directory);
  t.strictSame(again.left('pmem0p1'), media);
  t.equal(again.left('pmem0p2'), undefined);
  await again.close();
});

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

t.test('a store: a lease of very many pieces is read as it was written', async (t) => {
  const store = LmdbStore.open(scratchDirectory(t));
  const runs = Array.from({ length: 2_000 }, (_, i) => ({
    offset: 2 * i * 4096,
    deviceOffset: i * 8192 + 4096,
    length: 4096,
  }));
  const holding = { ranges: [{ offset: 0, length: 4096 }], runs };
  const records = [recordOf('a'), { ...recordOf('b'), holding }, recordOf('c')];
  await store.commit(records.map((record) => ({ kind: 'put', record, deadlineMs: 5 })));
  t.strictSame(
    [...store.stored()].map(({ record }) => record),
    records,
  );
  await store.close();
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

t.test('a store: one of another version is refused as it is', async (t) => {
  const headers = [
    { value: summedBytes.encode(headerOf(9)), message: /a newer daxd wrote it, in version 9/ },
    { value: summedBytes.encode(headerOf(1)), message: /an older daxd wrote it, in version 1/ },
    // As that version wrote it.
    { value: Buffer.from(`0123abcd${headerOf(1).toString()}`), message: /or of version 1/ },
  ];
  for (const { value, message } of headers) {
    const directory = scratchDirectory(t);
    const path = join(directory, 'leases.mdb');
    const root = open<Buffer, string>({ path, noSubdir: true, encoding: 'binary' });
    await root.put('header', value);
    await root.close();
    const before = readFileSync(path);
    t.throws(() => LmdbStore.open(directory), { code: 'EBADMSG', message });
    t.ok(readFileSync(path).equals(before), 'not a byte changed');
  }
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
  t.throws(() => LmdbStore.open('/proc/daxd/leases'), { message: /--state-dir/ });
});
