import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { MIB } from '../../../src/lib/units.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';
import { DevPagemap, MemoryType } from '../../../src/mm/dev-pagemap.js';

t.test('MemoryType: has the values of the posted patch and no host memory', async (t) => {
  t.strictSame(MemoryType, { Private: 1, Public: 2, FsDax: 3 });
});

t.test('DevPagemap: data pages start after the reserved bytes', async (t) => {
  const pgmap = new DevPagemap({
    range: { start: 2 * MIB, length: 8 * MIB },
    reservedBytes: 6 * MIB,
  });
  t.equal(pgmap.firstPfn, 2048);
  t.equal(pgmap.pages, 512);
  t.ok(pgmap.holds(2048, 512));
  t.notOk(pgmap.holds(2047, 1), 'the memmap has no counts');
  t.notOk(pgmap.holds(2048, 513));
  t.ok(pgmap.isIdlePfn(2559));
  t.equal(pgmap.type, undefined, 'a driver sets it');
});

t.test('DevPagemap: covers whole pages, and at least one', async (t) => {
  t.throws(() => new DevPagemap({ range: { start: 512, length: 4096 } }), InvariantError);
  t.throws(() => new DevPagemap({ range: { start: 0, length: 4097 } }), InvariantError);
  t.throws(
    () => new DevPagemap({ range: { start: 0, length: 4096 }, reservedBytes: 4096 }),
    InvariantError,
  );
});

t.test('dying: follows the ref, which the queue may kill first', async (t) => {
  const ref = new UsageRef();
  const pgmap = new DevPagemap({ range: { start: 0, length: 4096 } });
  t.notOk(pgmap.dying);
  pgmap.ref = ref;
  t.notOk(pgmap.dying);
  ref.kill();
  t.ok(pgmap.dying);
  t.notOk(pgmap.removal.aborted, 'teardown has not begun');
});
