import t from 'tap';

import { asyncPreference } from '../../../src/http/prefer.js';

t.test('asyncPreference: respond-async, with and without wait', async (t) => {
  for (const [header, waitMs] of [
    ['respond-async', 0],
    ['respond-async, wait=10', 10_000],
    ['wait=10,Respond-Async', 10_000],
    ['wait = "3" ; x=y, respond-async', 3_000],
    ['respond-async, wait=1, wait=9', 1_000],
    ['respond-async, wait=soon', 0],
    ['foo="bar", respond-async; q, handling=lenient', 0],
    ['respond-async, wait=999999999', 600_000],
  ] as const) {
    t.strictSame(asyncPreference(header), { waitMs }, header);
  }
  t.strictSame(asyncPreference(['wait=2', 'respond-async']), { waitMs: 2_000 });
});

t.test('asyncPreference: anything else is no preference, and no error', async (t) => {
  for (const header of [undefined, '', 'wait=10', 'return=minimal', 'respond-async-now', ',,=;']) {
    t.equal(asyncPreference(header), undefined, String(header));
  }
});
