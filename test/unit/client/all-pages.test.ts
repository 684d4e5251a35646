import t from 'tap';

import { allPages } from '../../../src/client/all-pages.js';

t.test('all pages: each is asked for with the filters, until there is no next', async (t) => {
  const asked: string[] = [];
  const pages = [
    { leases: ['a', 'b'], next_cursor: 'b' },
    { leases: [], next_cursor: 'c d' },
    { leases: ['e'] },
  ];
  const get = async (path: string): Promise<(typeof pages)[number]> => {
    asked.push(path);
    return pages[asked.length - 1] ?? { leases: [] };
  };
  const query = new URLSearchParams({ state: 'active' });
  const found = await allPages(get, { path: '/v1/leases', name: 'leases', query });
  t.strictSame(found, ['a', 'b', 'e']);
  t.strictSame(asked, [
    '/v1/leases?state=active',
    '/v1/leases?state=active&cursor=b',
    '/v1/leases?state=active&cursor=c+d',
  ]);
  t.equal(query.toString(), 'state=active', 'the filters are the caller’s');
});

t.test('all pages: one that is alone is asked for as it stands', async (t) => {
  const asked: string[] = [];
  const get = async (path: string): Promise<{ operations: number[] }> => {
    asked.push(path);
    return { operations: [1] };
  };
  t.strictSame(await allPages(get, { path: '/v1/operations', name: 'operations' }), [1]);
  t.strictSame(asked, ['/v1/operations']);
});
