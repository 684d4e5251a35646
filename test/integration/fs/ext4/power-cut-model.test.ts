import { join } from 'node:path';

import t from 'tap';

import { DiskImage, JudgeFile } from '../../../support/power-cut/disk-image.js';
import { PendingLines } from '../../../support/power-cut/pending-lines.js';
import { PowerLog, unloggedPages } from '../../../support/power-cut/power-log.js';
import { treeProblems } from '../../../support/power-cut/situation.js';
import type { Progress, Situation } from '../../../support/power-cut/situation.js';
import type { Tree, TreeEntry } from '../../../support/power-cut/tree.js';
import type { Operation } from '../../../support/power-cut/workload.js';
import { SeededRandom } from '../../../support/seeded-random.js';

/** What the power cuts stand on: which stores a cut may undo, and what is allowed of a tree. */

const MEDIA = 1024 * 1024;

function linesAfter(run: (pending: PendingLines, image: DiskImage) => void): string[] {
  const image = new DiskImage(MEDIA);
  const pending = new PendingLines(image);
  run(pending, image);
  const cut = pending.cut((stores) => stores.length);
  return cut.map(
    ({ offset, bytes }) => `${offset} ${bytes.toString('latin1').replaceAll('\0', '.')}`,
  );
}

t.test('PendingLines: a persist that began before a store does not make it durable', async (t) => {
  const pad = '.'.repeat(62);
  t.strictSame(
    linesAfter((pending) => {
      pending.store(1, 0, Buffer.from('ab'));
      pending.persisted(2, 0, 64);
    }),
    [],
  );
  t.strictSame(
    linesAfter((pending) => {
      pending.store(3, 0, Buffer.from('ab'));
      pending.persisted(2, 0, 64);
    }),
    [`0 ab${pad}`],
  );
});

t.test('PendingLines: a persist that is too short leaves the last line in doubt', async (t) => {
  t.strictSame(
    linesAfter((pending) => {
      pending.store(1, 0, Buffer.alloc(130, 'x'));
      pending.persisted(2, 0, 128);
    }),
    [`128 xx${'.'.repeat(62)}`],
  );
});

t.test('PendingLines: stores to one line get through in order, or not', async (t) => {
  const image = new DiskImage(MEDIA);
  const pending = new PendingLines(image);
  pending.store(1, 0, Buffer.from('aa'));
  pending.store(3, 0, Buffer.from('bb'));
  pending.store(4, 64, Buffer.from('cc'));
  const starts = (count: number): (string | undefined)[] =>
    pending.cut(() => count).map(({ bytes }) => bytes.toString('latin1', 0, 2));
  t.strictSame(starts(0), []);
  t.strictSame(starts(1), ['aa', 'cc']);
  t.strictSame(starts(2), ['bb', 'cc']);
  pending.persisted(2, 0, 64);
  t.equal(image.bytes.toString('latin1', 0, 2), 'aa', 'the first is durable, the second is not');
  t.strictSame(pending.ages(), [3, 4]);
});

t.test('PendingLines: words of 8 bytes get through on their own', async (t) => {
  const pending = new PendingLines(new DiskImage(MEDIA));
  pending.store(1, 0, Buffer.alloc(64, 'x'));
  let word = 0;
  const [line] = pending.cutWords(() => word++ % 2);
  t.equal(line?.bytes.toString('latin1').replaceAll('\0', '.'), '........xxxxxxxx'.repeat(4));
});

t.test('PendingLines: the same bytes have the same name, however they came there', async (t) => {
  const image = new DiskImage(MEDIA);
  const pending = new PendingLines(image);
  const nothing = pending.identityOf([]);
  pending.store(1, 100, Buffer.from('content'));
  const all = pending.identityOf(pending.cut(() => 1));
  pending.persisted(2, 0, 4096);
  t.equal(pending.identityOf([]), all);
  t.not(all, nothing);
  pending.store(3, 100, Buffer.alloc(7));
  pending.persisted(4, 0, 4096);
  t.equal(pending.identityOf([]), nothing);
});

t.test('PendingLines: isTorn tells a window that is neither old nor new', async (t) => {
  const pending = new PendingLines(new DiskImage(MEDIA));
  pending.store(1, 1024, Buffer.alloc(128, 'x'));
  const torn = (counts: readonly number[]): boolean => {
    const left = [...counts];
    const cut = pending.cut(() => left.shift() ?? 0);
    return pending.isTorn(new Map(cut.map(({ offset, bytes }) => [offset, bytes])), 1024, 2048);
  };
  t.strictSame(
    [torn([0, 0]), torn([1, 1]), torn([1, 0]), torn([0, 1])],
    [false, false, true, true],
  );
});

t.test('PowerLog: logs stores, fills and persists, and misses none', async (t) => {
  const before = new DiskImage(MEDIA);
  const log = new PowerLog(before.copy(), new SeededRandom(1));
  const { mapping } = log.backing;
  mapping.write(10, Buffer.from('abc'));
  mapping.fill(8192, 4, 7);
  await log.backing.persist(0, 4096);
  t.match(log.events, [
    { kind: 'store', offset: 10 },
    { kind: 'store', offset: 8192, bytes: Buffer.alloc(4, 7) },
    { kind: 'persist', offset: 0, length: 4096 },
    { kind: 'persisted', began: 2 },
  ]);
  t.strictSame(unloggedPages(log, before), []);
  mapping.view(8192, 4)[0] = 1;
  t.strictSame(unloggedPages(log, before), [8192], 'a store through a view is past the log');
});

t.test('DiskImage: rollback brings back what was there; JudgeFile follows', async (t) => {
  const image = new DiskImage(MEDIA);
  image.put(4000, Buffer.alloc(200, 'a'));
  const file = new JudgeFile(join(t.testdir(), 'file'), MEDIA);
  t.teardown(() => {
    file.close();
  });
  const read = (offset: number): number | undefined => file.backing().mapping.view(offset, 1)[0];
  image.begin();
  image.fill(4090, 20, 0x62);
  image.put(500_000, Buffer.from('c'));
  t.strictSame(image.changedPages(), [0, 1, 122]);
  file.makeEqual(image);
  t.strictSame([read(4080), read(4095), read(500_000)], [0x61, 0x62, 0x63]);
  image.rollback();
  t.equal(image.bytes[4095], 0x61);
  t.equal(image.bytes[500_000], 0);
  file.makeEqual(image);
  t.strictSame([read(4095), read(500_000)], [0x61, 0]);
});

function file(content: string): TreeEntry {
  const bytes = Buffer.from(content);
  return {
    inode: 12,
    type: 'file',
    mode: 0,
    nlink: 1,
    size: bytes.length,
    content: bytes,
    xattrs: '',
  };
}

function problemsOf(found: Tree, progress: Progress, torn?: Operation['torn']): string[] {
  const change: Operation = { name: 'change', touches: ['a'], run: async () => {} };
  const root = { ...file(''), inode: 2, type: 'directory', nlink: 2 };
  const tree = (entries: Tree): Tree => new Map([['', root], ...entries]);
  const situation: Situation = {
    before: tree(new Map([['a', file('o'.repeat(128))]])),
    after: tree(new Map([['a', file('n'.repeat(128))]])),
    operations: [{ operation: torn === undefined ? change : { ...change, torn }, progress }],
    unit: 64,
  };
  return treeProblems(tree(found), situation);
}

t.test(
  'treeProblems: before or after while an operation runs, after once it has settled',
  async (t) => {
    const before = new Map([['a', file('o'.repeat(128))]]);
    const after = new Map([['a', file('n'.repeat(128))]]);
    t.strictSame(problemsOf(before, 'running'), []);
    t.strictSame(problemsOf(after, 'running'), []);
    t.strictSame(problemsOf(after, 'settled'), []);
    t.match(problemsOf(before, 'settled'), [/had settled and is lost/]);
    t.match(problemsOf(after, 'waiting'), [/had not begun/]);
    t.match(problemsOf(new Map(), 'running'), [/neither before .* nor after/]);
  },
);

t.test(
  'treeProblems: a store in place may leave old lines among new ones, and no others',
  async (t) => {
    const mixed = new Map([['a', file('o'.repeat(64) + 'n'.repeat(64))]]);
    const halfLine = new Map([['a', file('o'.repeat(32) + 'n'.repeat(96))]]);
    t.strictSame(problemsOf(mixed, 'running', 'before the commit'), []);
    t.match(problemsOf(mixed, 'running'), [/neither/]);
    t.match(problemsOf(mixed, 'settled', 'before the commit'), [/lost/]);
    t.match(problemsOf(halfLine, 'running', 'before the commit'), [/neither/]);
  },
);

t.test('treeProblems: link counts are what the names add up to', async (t) => {
  const linked = { ...file('o'.repeat(128)), nlink: 2 };
  t.strictSame(problemsOf(new Map([['a', linked]]), 'running'), ['a has 2 links, its names are 1']);
  const twice = new Map([
    ['a', linked],
    ['b', linked],
  ]);
  t.match(problemsOf(twice, 'running'), [/^b: file .* instead of nothing/], 'a name too many');
});
