import t from 'tap';

import { formatUuid, parseUuid } from '../../../src/lib/uuid.js';

const TEXT = '2500be98-0529-4248-a91d-331db61bd1d3';

t.test('formatUuid, parseUuid: one is the other backwards', async (t) => {
  const bytes = parseUuid(TEXT);
  t.equal(bytes?.toString('hex'), '2500be9805294248a91d331db61bd1d3', 'in the order of the text');
  t.equal(formatUuid(bytes ?? Buffer.alloc(0)), TEXT);
  t.equal(formatUuid(Buffer.concat([Buffer.alloc(3), bytes ?? Buffer.alloc(0)]), 3), TEXT);
  t.strictSame(parseUuid(TEXT.toUpperCase()), bytes, 'in either case');
});

t.test('parseUuid: undefined for what is none', async (t) => {
  for (const text of [
    '',
    TEXT.slice(1),
    `${TEXT}0`,
    TEXT.replace('-', ''),
    TEXT.replace('2', 'g'),
  ]) {
    t.equal(parseUuid(text), undefined, text);
  }
});
