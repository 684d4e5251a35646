import * as fc from 'fast-check';
import t from 'tap';

import { MIB, PAGE_SIZE, roundDown } from '../../../src/lib/units.js';
import { unitsToCut } from '../../../src/media/lent-units.js';
import { testSeed } from '../../support/random-test.js';

const PMD = 2 * MIB;
/** Pages that the property looks at. */
const PAGES = 12;

t.test('unitsToCut: the pages of what was lent that hold nothing kept', async (t) => {
  const range = fc.record({
    offset: fc.nat(PAGES * PAGE_SIZE - 1),
    length: fc.integer({ min: 1, max: 3 * PAGE_SIZE }),
  });
  fc.assert(
    fc.property(range, fc.array(range, { maxLength: 4 }), (lent, kept) => {
      const end = lent.offset + lent.length;
      const expected: number[] = [];
      for (let at = roundDown(lent.offset, PAGE_SIZE); at < end; at += PAGE_SIZE) {
        const from = Math.max(at, lent.offset);
        const to = Math.min(at + PAGE_SIZE, end);
        const isKept = kept.some(({ offset, length }) => offset < to && offset + length > from);
        if (!isKept) expected.push(at);
      }
      const units = unitsToCut({ lent, kept, align: PAGE_SIZE });
      const found = units.flatMap(({ offset, length }) =>
        Array.from({ length: length / PAGE_SIZE }, (_, i) => offset + i * PAGE_SIZE),
      );
      t.strictSame(found, expected);
    }),
    { seed: testSeed(t) },
  );
});

t.test('unitsToCut: whole units of a device-dax node, and no others', async (t) => {
  const lent = { offset: PMD + PAGE_SIZE, length: 3 * PMD };
  const cut = (offset: number, length: number) =>
    unitsToCut({ lent, kept: [{ offset, length }], align: PMD });
  t.strictSame(unitsToCut({ lent, kept: [], align: PMD }), [{ offset: PMD, length: 4 * PMD }]);
  t.strictSame(cut(lent.offset, lent.length), []);
  t.strictSame(cut(3 * PMD, lent.offset + lent.length - 3 * PMD), [
    { offset: PMD, length: 2 * PMD },
  ]);
  t.strictSame(cut(2 * PMD, PMD), [
    { offset: PMD, length: PMD },
    { offset: 3 * PMD, length: 2 * PMD },
  ]);
  t.throws(() => cut(3 * PMD - PAGE_SIZE, 2 * PMD), { code: 'EINVAL' }, 'a unit kept in part');
  t.strictSame(
    unitsToCut({
      lent,
      kept: [{ offset: lent.offset + 10, length: lent.length - 20 }],
      align: PMD,
    }),
    [],
    'no page goes, and so no unit must',
  );
});
