import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
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

/** Windows of 4 + 4 + 3 bytes that are mapped on demand, and where each was asked for. */
function setUpLazy(lengthBytes = 11): {
  mapping: Mapping;
  mapped: number[][];
  fail: { at: number | undefined };
} {
  const mapped: number[][] = [];
  const fail: { at: number | undefined } = { at: undefined };
  const mapWindow = (offset: number, length: number): Buffer => {
    if (offset === fail.at) throw new DaxdError('EIO', `window at ${offset}`);
    mapped.push([offset, length]);
    return Buffer.from(Array.from({ length }, (_, i) => offset + i));
  };
  const windows = { lengthBytes, mapWindow };
  return { mapping: new Mapping({ windows, readOnly: false, windowBytes: WINDOW }), mapped, fail };
}

t.test('every access: maps a window when it is first touched, and once', async (t) => {
  const { mapping, mapped } = setUpLazy();
  t.equal(mapping.length, 11);
  t.strictSame(mapped, [], 'a new mapping has looked at nothing');
  t.strictSame([...mapping.view(9, 2)], [9, 10]);
  t.strictSame(mapped, [[8, 3]], 'the last window is as long as is left');
  mapping.write(8, Buffer.of(0xee));
  mapping.read(10, Buffer.alloc(1));
  t.strictSame(mapped, [[8, 3]]);
  t.strictSame(contents(mapping), [0, 1, 2, 3, 4, 5, 6, 7, 0xee, 9, 10]);
  t.strictSame(mapped, [
    [8, 3],
    [0, 4],
    [4, 4],
  ]);
});

t.test(
  'every access: what the first touch throws passes, and the next one tries anew',
  async (t) => {
    const { mapping, mapped, fail } = setUpLazy();
    fail.at = 4;
    const failure = { name: 'DaxdError', code: 'EIO', message: 'window at 4' };
    t.throws(() => mapping.view(5, 1), failure);
    t.throws(() => {
      mapping.read(0, Buffer.alloc(11));
    }, failure);
    t.throws(() => {
      mapping.fill(0, 11, 1);
    }, failure);
    t.strictSame(mapped, [[0, 4]]);
    t.strictSame([...mapping.view(0, 4)], [0, 1, 2, 3], 'a fill that fails has stored nothing');
    fail.at = undefined;
    t.strictSame(contents(mapping), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  },
);

t.test(
  'touchedViews: those of windows that somebody looked at, and no window is mapped',
  async (t) => {
    const { mapping, mapped } = setUpLazy();
    t.strictSame(mapping.touchedViews(0, 11), []);
    mapping.view(4, 0);
    mapping.view(8, 1);
    t.strictSame(
      mapping.touchedViews(2, 7).map((view) => [...view]),
      [[4, 5, 6, 7], [8]],
    );
    t.equal(mapped.length, 2);
    t.throws(() => mapping.touchedViews(2, 10), InvariantError);
  },
);

t.test('view: an empty one at the very end maps nothing', async (t) => {
  const { mapping, mapped } = setUpLazy(8);
  t.equal(mapping.view(8, 0).length, 0);
  t.strictSame(mapped, []);
});
