import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { Mapping } from '../../../src/media/mapping.js';

const WINDOW = 4;

/** A mapping of three windows, 4 + 4 + 3 bytes, that holds 0, 1, 2, … */
function setUp(readOnly = false): Mapping {
  const windows = [Buffer.of(0, 1, 2, 3), Buffer.of(4, 5, 6, 7), Buffer.of(8, 9, 10)];
  return new Mapping({ windows, readOnly, windowBytes: WINDOW });
}

/** Every range within 11 bytes, the empty ones too. */
function* ranges(): Generator<{ offset: number; length: number }> {
  for (let offset = 0; offset <= 11; offset++) {
    for (let length = 0; offset + length <= 11; length++) yield { offset, length };
  }
}

function contents(mapping: Mapping): number[] {
  const all = Buffer.alloc(mapping.length);
  mapping.read(0, all);
  return [...all];
}

t.test('read: every range comes out as it lies, across every border', async (t) => {
  const mapping = setUp();
  for (const { offset, length } of ranges()) {
    const target = Buffer.alloc(length);
    mapping.read(offset, target);
    t.strictSame(
      [...target],
      Array.from({ length }, (_, i) => offset + i),
    );
  }
});

t.test('write: every range changes its own bytes and no others', async (t) => {
  for (const { offset, length } of ranges()) {
    const mapping = setUp();
    mapping.write(offset, Buffer.alloc(length, 0xff));
    const expected = Array.from({ length: 11 }, (_, i) =>
      i >= offset && i < offset + length ? 0xff : i,
    );
    t.strictSame(contents(mapping), expected, `[${offset}, ${offset + length})`);
  }
});

t.test('write: takes a Uint8Array that is a view of something larger', async (t) => {
  const mapping = setUp();
  mapping.write(3, new Uint8Array([100, 101, 102, 103]).subarray(1, 3));
  t.strictSame(contents(mapping), [0, 1, 2, 101, 102, 5, 6, 7, 8, 9, 10]);
});

t.test('fill: every range changes its own bytes and no others', async (t) => {
  for (const { offset, length } of ranges()) {
    const filled = setUp();
    const written = setUp();
    filled.fill(offset, length, 0xa5);
    written.write(offset, Buffer.alloc(length, 0xa5));
    t.strictSame(contents(filled), contents(written));
  }
});

t.test('views: cover every range once, one a window', async (t) => {
  const mapping = setUp();
  for (const { offset, length } of ranges()) {
    const views = mapping.views(offset, length);
    const bytes = Buffer.from(Array.from({ length }, (_, i) => offset + i));
    t.ok(Buffer.concat(views).equals(bytes));
    const windows =
      length === 0
        ? 0
        : Math.floor((offset + length - 1) / WINDOW) - Math.floor(offset / WINDOW) + 1;
    t.equal(views.length, windows);
  }
});

t.test('view: is live in both directions', async (t) => {
  const mapping = setUp();
  const view = mapping.view(5, 3);
  view[0] = 0xaa;
  mapping.write(6, Buffer.of(0xbb));
  t.strictSame([...view], [0xaa, 0xbb, 7]);
  t.strictSame(contents(mapping).slice(5, 8), [0xaa, 0xbb, 7]);
});

t.test('view: a range across a border breaks an invariant', async (t) => {
  const mapping = setUp();
  t.throws(() => mapping.view(3, 2), InvariantError);
  t.equal(mapping.view(4, 4).length, 4, 'a whole window is allowed');
});

t.test('every access: a range outside breaks an invariant and stores nothing', async (t) => {
  const mapping = setUp();
  const before = contents(mapping);
  const outside = [
    [-1, 1],
    [11, 1],
    [10, 2],
    [0.5, 1],
    [0, 12],
    [Number.NaN, 1],
    [2 ** 53, 0],
  ] as const;
  for (const [offset, length] of outside) {
    const bytes = Buffer.alloc(length, 0xee);
    t.throws(() => mapping.view(offset, length), InvariantError);
    t.throws(() => mapping.views(offset, length), InvariantError);
    t.throws(() => {
      mapping.read(offset, bytes);
    }, InvariantError);
    t.throws(() => {
      mapping.write(offset, bytes);
    }, InvariantError);
    t.throws(() => {
      mapping.fill(offset, length, 1);
    }, InvariantError);
  }
  t.throws(() => mapping.view(3, -1), InvariantError);
  t.strictSame(contents(mapping), before);
});

t.test('write, fill: break an invariant when the mapping is read-only', async (t) => {
  const mapping = setUp(true);
  t.throws(() => {
    mapping.write(0, Buffer.of(1));
  }, InvariantError);
  t.throws(() => {
    mapping.fill(0, 1, 1);
  }, InvariantError);
  t.equal(mapping.view(0, 1)[0], 0, 'reads go on');
});

t.test('constructor: a short window before the last breaks an invariant', async (t) => {
  const windows = [Buffer.alloc(3), Buffer.alloc(4)];
  t.throws(() => new Mapping({ windows, readOnly: false, windowBytes: WINDOW }), InvariantError);
  const long = [Buffer.alloc(4), Buffer.alloc(5)];
  t.throws(() => new Mapping({ windows: long, readOnly: false, windowBytes: 4 }), InvariantError);
});
