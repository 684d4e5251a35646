import t from 'tap';

import {
  checkLabel,
  clearEntry,
  decodeEntries,
  encodeEntry,
  type GptEntry,
  LINUX_FILESYSTEM_TYPE,
} from '../../../src/block/gpt-entry.js';

const entry: GptEntry = {
  number: 3,
  type: LINUX_FILESYSTEM_TYPE,
  uuid: '01234567-89ab-cdef-0123-456789abcdef',
  label: 'dåta 🗄',
  firstLba: 4096,
  lastLba: 8191,
};

t.test('encodeEntry: GUIDs are stored swapped, the name as UTF-16', async (t) => {
  const entries = Buffer.alloc(512);
  encodeEntry(entries, entry);
  t.equal(entries.toString('hex', 256, 272), 'af3dc60f838472478e793d69d8477de4');
  t.equal(entries.toString('hex', 272, 288), '67452301ab89efcd0123456789abcdef');
  t.equal(entries.toString('utf16le', 312, 326), 'dåta 🗄');
  t.ok(
    entries.subarray(0, 256).every((byte) => byte === 0),
    'other slots are not touched',
  );
});

t.test('decodeEntries: empty slots keep the numbers of those behind them', async (t) => {
  const entries = Buffer.alloc(512);
  encodeEntry(entries, entry);
  t.strictSame(decodeEntries(entries), [entry]);
  encodeEntry(entries, { ...entry, number: 1, label: '' });
  t.strictSame(
    decodeEntries(entries).map(({ number, label }) => [number, label]),
    [
      [1, ''],
      [3, 'dåta 🗄'],
    ],
  );
  clearEntry(entries, 1);
  t.strictSame(decodeEntries(entries), [entry]);
});

t.test('decodeEntries: a name ends at its first NUL', async (t) => {
  const entries = Buffer.alloc(128);
  encodeEntry(entries, { ...entry, number: 1, label: 'ab' });
  entries.write('x', 56 + 6, 'utf16le');
  t.match(decodeEntries(entries), [{ label: 'ab' }]);
});

t.test('checkLabel: 36 UTF-16 units fit, 37 do not, nor does a NUL', async (t) => {
  checkLabel('');
  checkLabel('x'.repeat(36));
  checkLabel('🗄'.repeat(18));
  t.throws(
    () => {
      checkLabel('x'.repeat(37));
    },
    { code: 'EINVAL', message: /37 UTF-16 units/ },
  );
  t.throws(
    () => {
      checkLabel(`${'🗄'.repeat(18)}x`);
    },
    { code: 'EINVAL' },
  );
  t.throws(
    () => {
      checkLabel('a\0b');
    },
    { code: 'EINVAL' },
  );
});
