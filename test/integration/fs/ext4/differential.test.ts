/** daxd against the kernel's ext4; see test/support/differential/. */
import { join } from 'node:path';

import t from 'tap';

import { MIB } from '../../../../src/lib/units.js';

import { IMAGE_KINDS, makeDirtyImage } from '../../../support/differential/images.js';
import type { ImageKind } from '../../../support/differential/images.js';
import { missingKinds, runDifferential } from '../../../support/differential/differential.js';
import type { Operation } from '../../../support/differential/operation.js';
import { Script } from '../../../support/differential/program.js';
import { runSeed } from '../../../support/differential/seeded-run.js';
import { runTurns } from '../../../support/differential/turns.js';
import { testSeed, times } from '../../../support/random-test.js';
import { requires } from '../../../support/requires.js';
import { scratchDirectory } from '../../../support/scratch-directory.js';

const JUDGES = { commands: ['mke2fs', 'e2fsck', 'mount', 'umount'], root: true };

/** 5,000 in all. */
const OPERATIONS: Readonly<Record<ImageKind, number>> = {
  default: 2600,
  own: 600,
  newer: 600,
  groups: 600,
  narrow: 600,
};

t.test('a program has every operation of daxd', async (t) => {
  t.strictSame(missingKinds(), []);
});

t.test('5,000 random operations leave what the kernel leaves (ext4.md 7.6)', async (t) => {
  if (!requires(t, JUDGES)) return;
  const first = testSeed(t);
  for (const [i, kind] of IMAGE_KINDS.entries()) {
    await t.test(kind, async (t) => {
      const seed = first + i;
      const directory = scratchDirectory(t);
      const operations = times(OPERATIONS[kind]);
      const report = await runSeed({ directory, kind, seed, operations, burst: 200 });
      t.strictSame(report.lines, [], `seed ${seed}: no difference`);
      t.equal(report.operations.length, operations);
      t.comment(`${report.comparisons} comparisons, ${report.counts.size} outcomes`);
    });
  }
});

t.test(
  'a hash tree of two levels and a deep extent tree grow and shrink as in the kernel',
  async (t) => {
    if (!requires(t, JUDGES)) return;
    const names = { path: 'f', directory: 'd', nameLength: 255 };
    const far = { path: 'deep', stride: 8192, fill: 1 };
    const script: Operation[] = [
      { kind: 'create', path: 'f' },
      { kind: 'mkdir', path: 'd' },
      { kind: 'crowd', ...names, first: 0, count: 6500 },
      { kind: 'thin', ...names, first: 1000, count: 2000 },
      { kind: 'crowd', ...names, first: 10_000, count: 1500 },
      { kind: 'rename', path: 'd', to: 'e', noReplace: false },
      { kind: 'create', path: 'deep' },
      { kind: 'scatter', ...far, offset: 0, count: 1700 },
      { kind: 'punch', path: 'deep', offset: 100_000, length: 9_000_000 },
      { kind: 'scatter', ...far, offset: 4096, count: 300 },
      { kind: 'collapse', path: 'deep', offset: 8192, length: 40_960 },
      { kind: 'insert', path: 'deep', offset: 4096, length: 4096 },
      { kind: 'truncate', path: 'deep', size: 500_000 },
      { kind: 'remove', path: 'deep' },
    ];
    const report = await runDifferential({
      directory: scratchDirectory(t),
      kind: 'default',
      sizeBytes: 64 * MIB,
      source: new Script(script),
      operations: script.length,
      burst: 100,
    });
    t.equal(report.finding, undefined);
    t.strictSame(
      [...report.counts.keys()].filter((outcome) => outcome.includes(' ')),
      [],
    );
  },
);

t.test('an operation that one side did not run is found, and named', async (t) => {
  if (!requires(t, JUDGES)) return;
  const path = 'f';
  const script: Operation[] = [
    { kind: 'create', path },
    { kind: 'write', path, offset: 3, length: 9000, fill: 1 },
    { kind: 'link', path, to: 'g' },
    { kind: 'fallocate', path, offset: 20_000, length: 1, keepSize: true },
    { kind: 'setXattr', path, name: 'user.a', length: 9, fill: 2, follow: true },
    { kind: 'zero', path, offset: 5000, length: 1, keepSize: true },
    { kind: 'attributes', path, follow: true, set: { mtimeNs: 5n } },
    { kind: 'attributes', path, follow: true, set: { mode: 0o604 } },
    { kind: 'mkdir', path: 'd' },
  ];
  const directory = scratchDirectory(t);
  const image = join(directory, 'start');
  await makeDirtyImage(image, 'default', 16 * MIB);
  for (let withheld = 2; withheld <= script.length; withheld++) {
    const report = await runDifferential({
      directory,
      image,
      kind: 'default',
      sizeBytes: 16 * MIB,
      withheld,
      source: new Script(script),
      operations: script.length,
      burst: 100,
      fineFrom: 0,
    });
    t.match(report.finding, { index: withheld, alikeUntil: withheld - 1 });
  }
});

t.test('the kernel and daxd write in turns, five rounds (ext4.md 7.7)', async (t) => {
  if (!requires(t, JUDGES)) return;
  const first = testSeed(t);
  for (const [i, kind] of IMAGE_KINDS.entries()) {
    await t.test(kind, async (t) => {
      const seed = first + i;
      const directory = scratchDirectory(t);
      const report = await runTurns({ directory, kind, seed, rounds: 5, perTurn: times(40) });
      t.strictSame(report.lines, [], `seed ${seed}: no difference`);
      t.equal(report.turns, 10);
    });
  }
});
