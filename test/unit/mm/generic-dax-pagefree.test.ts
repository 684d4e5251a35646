import t from 'tap';

import { genericDaxPagefree } from '../../../src/mm/generic-dax-pagefree.js';
import { settle } from '../../support/settle.js';
import { mapPages } from './set-up.js';

t.test(
  'genericDaxPagefree: adds the first pfn to the index, for a page and for a block',
  async (t) => {
    const { pgmap, waiters } = await mapPages({ pages: 2000, firstPfn: 300 });
    const woken: number[] = [];
    for (const pfn of [300, 301, 512, 1023, 1024]) {
      let tests = 0;
      void waiters.waitVarEvent(pfn, () => ++tests > 1).then(() => woken.push(pfn));
    }
    genericDaxPagefree(waiters, pgmap, 1, 1);
    await settle();
    t.strictSame(woken, [301]);
    genericDaxPagefree(waiters, pgmap, 212, 512);
    await settle();
    t.strictSame(woken, [301, 512, 1023]);
    genericDaxPagefree(waiters, pgmap, 0, 1);
    genericDaxPagefree(waiters, pgmap, 724, 1);
    await settle();
    t.equal(waiters.size, 0);
  },
);

t.test('genericDaxPagefree: a block leaves the waiters of its busy pages asleep', async (t) => {
  const { pgmap, waiters } = await mapPages({ pages: 512 });
  pgmap.refs.get(7);
  const waited = waiters.waitVarEvent(7, () => pgmap.isIdlePfn(7));
  genericDaxPagefree(waiters, pgmap, 0, 512);
  await settle();
  t.strictSame(waiters.wakeups, { useful: 0, spurious: 0 });
  pgmap.refs.put(7);
  genericDaxPagefree(waiters, pgmap, 7, 1);
  await waited;
  t.strictSame(waiters.wakeups, { useful: 1, spurious: 0 });
});
