import { join } from 'node:path';

import t from 'tap';

import { outcome, spawnScript } from './children.js';

t.test('windows: stay mapped while a view is held, and go with the last one', async (t) => {
  const image = join(t.testdir({}), 'pmem0.img');
  const child = spawnScript('collection-child.ts', { nodeOptions: ['--expose-gc'] }, image);
  const { output, end } = await outcome(child);
  t.equal(end, 0, 'the process ends well, not by a signal');
  t.strictSame(output.trim().split('\n'), [
    'open 1',
    'second touched 2',
    'third touched 3',
    'closed, mapping held 3',
    'two views held 2',
    'bytes 1 2',
    'none held 0',
  ]);
});
