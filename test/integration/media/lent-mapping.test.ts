import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { GIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { LentMapping } from '../../../src/media/lent-mapping.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';

t.test('open: a view of each range, to the byte; cover cuts all of them off', async (t) => {
  const path = join(temporaryDirectory(t), 'backing');
  writeFileSync(path, Buffer.alloc(8 * PAGE_SIZE, 'a'));
  const ranges = [
    { offset: 5 * PAGE_SIZE + 10, length: PAGE_SIZE },
    { offset: 100, length: 20 },
  ];
  const mapping = await LentMapping.open({ path, ranges, readOnly: false });
  t.strictSame(
    mapping.views.map(({ offset, bytes }) => [offset, bytes.length]),
    ranges.map(({ offset, length }) => [offset, length]),
  );
  for (const { bytes } of mapping.views) bytes.fill('b');
  const stored = Buffer.alloc(8 * PAGE_SIZE, 'a');
  for (const { offset, length } of ranges) stored.fill('b', offset, offset + length);
  t.ok(readFileSync(path).equals(stored), 'shared with the file');

  mapping.cover();
  mapping.cover();
  for (const { bytes } of mapping.views) {
    t.equal(bytes.equals(Buffer.alloc(bytes.length)), true, 'nothing of the file shows');
    bytes.fill('c');
  }
  t.ok(readFileSync(path).equals(stored), 'nothing goes there');
});

t.test(
  'coverAllBut: pages that hold nothing kept are cut off, the others are as they were',
  async (t) => {
    const path = join(temporaryDirectory(t), 'backing');
    writeFileSync(path, Buffer.alloc(8 * PAGE_SIZE, 'a'));
    const ranges = [
      { offset: PAGE_SIZE + 10, length: 3 * PAGE_SIZE },
      { offset: 6 * PAGE_SIZE, length: PAGE_SIZE },
    ];
    const mapping = await LentMapping.open({ path, ranges, readOnly: false });
    const [first, second] = mapping.views.map(({ bytes }) => bytes);
    const kept = [{ offset: 2 * PAGE_SIZE + 5, length: 1 }];
    mapping.coverAllBut(kept);
    mapping.coverAllBut(kept);
    const shown = Buffer.alloc(3 * PAGE_SIZE).fill('a', PAGE_SIZE - 10, 2 * PAGE_SIZE - 10);
    t.equal(first?.equals(shown), true, 'one page of the file shows');
    t.equal(second?.equals(Buffer.alloc(PAGE_SIZE)), true);
    for (const { bytes } of mapping.views) bytes.fill('b');
    const stored = Buffer.alloc(8 * PAGE_SIZE, 'a').fill('b', 2 * PAGE_SIZE, 3 * PAGE_SIZE);
    t.ok(readFileSync(path).equals(stored), 'and takes what is stored');
    mapping.cover();
    t.equal(first?.equals(Buffer.alloc(3 * PAGE_SIZE)), true);
  },
);

t.test('open: what is longer than a window comes in pieces', async (t) => {
  const path = join(temporaryDirectory(t), 'backing');
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 3 * GIB);
  closeSync(fd);
  const range = { offset: 8192 + 1, length: 2 * GIB };
  const { views } = await LentMapping.open({ path, ranges: [range], readOnly: true });
  t.strictSame(
    views.map(({ offset, bytes }) => [offset, bytes.length]),
    [
      [8193, GIB - 1],
      [8192 + GIB, GIB],
      [8192 + 2 * GIB, 1],
    ],
  );
});

t.test('open: what is not there is the errno of open', async (t) => {
  const request = { path: join(temporaryDirectory(t), 'none'), ranges: [], readOnly: true };
  await t.rejects(LentMapping.open(request), { code: 'ENOENT' });
});
