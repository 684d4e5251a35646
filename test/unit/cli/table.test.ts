import t from 'tap';

import { formatPairs, formatTable } from '../../../src/cli/table.js';

t.test('formatTable: columns as wide as their widest cell, numbers to the right', async (t) => {
  t.equal(
    formatTable(
      ['NAME', 'SIZE'],
      [
        ['a', 1],
        ['longer', 1000],
        [undefined, undefined],
      ],
    ),
    'NAME    SIZE\na          1\nlonger  1000\n-          -\n',
  );
  t.equal(formatTable(['NAME'], []), 'NAME\n');
});

t.test('formatTable: what a terminal would obey is not printed', async (t) => {
  t.equal(formatTable(['NAME'], [['a\u001b[2J\nb']]), 'NAME\na?[2J?b\n');
});

t.test('formatPairs: one a line', async (t) => {
  t.equal(
    formatPairs([
      ['disk', 'pmem0'],
      ['pinned pages', 0],
      ['uuid', undefined],
    ]),
    'disk          pmem0\npinned pages  0\nuuid          -\n',
  );
});
