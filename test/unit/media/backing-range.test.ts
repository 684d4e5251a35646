import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { MemoryBacking } from '../../support/memory-backing.js';

const SIZE = 8192;

/** A range of 1000 bytes at 4000 of a backing whose windows are 4096 bytes long. */
function setUp(): { backing: MemoryBacking; range: BackingRange; persisted: number[][] } {
  const persisted: number[][] = [];
  const backing = new MemoryBacking(SIZE, {
    windowBytes: 4096,
    onPersist: (offset, length) => void persisted.push([offset, length]),
  });
  return { backing, range: new BackingRange(backing, 4000, 1000), persisted };
}

t.test('write, read, view, fill: offsets count from the start of the range', async (t) => {
  const { backing, range } = setUp();
  range.write(95, Buffer.from('across'));
  t.equal(backing.mapping.view(4095, 1).toString(), 'a', 'before the window border');
  t.equal(backing.mapping.view(4096, 5).toString(), 'cross', 'after it');
  const target = Buffer.alloc(6);
  range.read(95, target);
  t.equal(target.toString(), 'across');
  t.equal(range.view(96, 5).toString(), 'cross');
  range.fill(0, 1000, 0x78);
  const all = Buffer.alloc(SIZE);
  backing.mapping.read(0, all);
  t.equal(all.indexOf('x'), 4000);
  t.equal(all.lastIndexOf('x'), 4999);
});

t.test('persist: reaches the backing at the offset of the range', async (t) => {
  const { range, persisted } = setUp();
  await range.persist(10, 20);
  t.strictSame(persisted, [[4010, 20]]);
});

t.test('slice: is a range of the range', async (t) => {
  const { backing, range } = setUp();
  const slice = range.slice(100, 50);
  t.match(slice, { start: 4100, length: 50 });
  slice.write(49, Buffer.of(7));
  t.equal(backing.mapping.view(4149, 1)[0], 7);
  t.equal(range.slice(1000, 0).length, 0, 'an empty one at the end');
});

t.test('every access: past either end breaks an invariant and stores nothing', async (t) => {
  const { backing, range, persisted } = setUp();
  for (const [offset, length] of [
    [-1, 1],
    [999, 2],
    [1000, 1],
    [0, 1001],
    [Number.NaN, 1],
  ] as const) {
    t.throws(() => range.view(offset, length), InvariantError);
    t.throws(() => range.slice(offset, length), InvariantError);
    t.throws(() => {
      range.read(offset, Buffer.alloc(length));
    }, InvariantError);
    t.throws(() => {
      range.write(offset, Buffer.alloc(length, 1));
    }, InvariantError);
    t.throws(() => {
      range.fill(offset, length, 1);
    }, InvariantError);
    await t.rejects(range.persist(offset, length), InvariantError);
  }
  t.strictSame(persisted, []);
  const all = Buffer.alloc(SIZE);
  backing.mapping.read(0, all);
  t.ok(all.equals(Buffer.alloc(SIZE)));
});

t.test('constructor: a range outside its backing breaks an invariant', async (t) => {
  const { backing } = setUp();
  t.throws(() => new BackingRange(backing, SIZE, 1), InvariantError);
  t.throws(() => new BackingRange(backing, -1, 1), InvariantError);
  t.throws(() => new BackingRange(backing, 0, 0.5), InvariantError);
  t.equal(new BackingRange(backing, SIZE, 0).length, 0);
});

t.test('readOnly: is that of the backing', async (t) => {
  const backing = new MemoryBacking(SIZE, { readOnly: true });
  const range = new BackingRange(backing, 0, SIZE);
  t.equal(range.readOnly, true);
  t.throws(() => {
    range.write(0, Buffer.of(1));
  }, InvariantError);
  t.equal(setUp().range.readOnly, false);
});

t.test(
  'dataRuns: offsets count from its start; all is data where the media cannot tell',
  async (t) => {
    const backing = new MemoryBacking(4 * 4096);
    const range = new BackingRange(backing, 4096, 2 * 4096);
    t.strictSame([...range.dataRuns(100, 200)], [{ offset: 100, length: 200 }]);
    Object.assign(backing, {
      *dataRuns(offset: number, length: number) {
        t.strictSame([offset, length], [4196, 200]);
        yield { offset: 4200, length: 5 };
      },
    });
    t.strictSame([...range.dataRuns(100, 200)], [{ offset: 104, length: 5 }]);
    t.throws(() => [...range.dataRuns(2 * 4096, 1)], InvariantError);
  },
);
