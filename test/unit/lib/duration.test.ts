import t from 'tap';

import { parseDurationMs } from '../../../src/lib/duration.js';

t.test('parseDurationMs: milliseconds, seconds and minutes; seconds without a unit', async (t) => {
  t.equal(parseDurationMs('500ms'), 500);
  t.equal(parseDurationMs('30s'), 30_000);
  t.equal(parseDurationMs('5m'), 300_000);
  t.equal(parseDurationMs('7'), 7_000);
  t.equal(parseDurationMs('0'), 0);
  t.equal(parseDurationMs('999999999m'), 999_999_999 * 60_000);
});

t.test('parseDurationMs: what is no time', async (t) => {
  for (const text of ['', 'ms', '1h', '1.5s', '-1', ' 1', '1 s', '1S', '1000000000']) {
    t.equal(parseDurationMs(text), undefined, text);
  }
});
