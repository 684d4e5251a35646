import t from 'tap';

import {
  checkHeader,
  checkIndex,
  checkLeaf,
  childSpan,
  encodeIndex,
  encodeLeaf,
  indexEntries,
  lastEntryFrom,
  leafExtents,
  leafPieces,
  sealNode,
  verifyNode,
} from '../../../../src/fs/ext4/extent-node.js';
import type { NodePlace } from '../../../../src/fs/ext4/extent-node.js';

const ROOT: NodePlace = { inode: 14, depth: undefined, span: { from: 0, to: 2 ** 32 - 1 } };
const FAR = 2 ** 47 + 5;

t.test('encodeLeaf: what is written is read, 48 bits of physical block included', async (t) => {
  const extents = [
    { logical: 0, physical: 7, length: 32768, unwritten: false },
    { logical: 40000, physical: FAR, length: 32767, unwritten: true },
    { logical: 2 ** 32 - 2, physical: 9, length: 1, unwritten: false },
  ];
  for (const node of [Buffer.alloc(60), Buffer.alloc(4096)]) {
    encodeLeaf(node, extents);
    t.equal(checkHeader(node, ROOT), 0);
    checkLeaf(node, ROOT);
    t.strictSame(leafExtents(node), extents);
    t.equal(node.readUInt16LE(4), node.length === 60 ? 4 : 340);
  }
});

t.test('encodeIndex: children and what each maps', async (t) => {
  const node = Buffer.alloc(4096);
  const children = [
    { logical: 5, block: FAR },
    { logical: 90, block: 3 },
  ];
  encodeIndex(node, children, 2);
  const place = { inode: 14, depth: 2, span: { from: 5, to: 200 } };
  t.equal(checkHeader(node, place), 2);
  checkIndex(node, place);
  t.strictSame(indexEntries(node), children);
  t.strictSame(childSpan(node, 0, place.span), { from: 5, to: 90 });
  t.strictSame(childSpan(node, 1, place.span), { from: 90, to: 200 });
  const elsewhere = { ...place, span: { from: 4, to: 200 } };
  t.throws(() => checkIndex(node, elsewhere), { name: 'DaxdError', code: 'EUCLEAN' });
  t.throws(() => checkHeader(node, { ...place, depth: 1 }), { name: 'DaxdError', code: 'EUCLEAN' });
});

t.test('lastEntryFrom: the entry that a block would be in', async (t) => {
  const node = Buffer.alloc(4096);
  const wanted = [
    [4, -1],
    [5, 0],
    [89, 0],
    [90, 1],
    [2 ** 32 - 1, 1],
  ] as const;
  const extent = { physical: 9, length: 2, unwritten: false };
  encodeLeaf(node, [
    { ...extent, logical: 5 },
    { ...extent, logical: 90 },
  ]);
  for (const [logical, index] of wanted) t.equal(lastEntryFrom(node, logical), index, `${logical}`);
  encodeLeaf(node, []);
  t.equal(lastEntryFrom(node, 7), -1, 'of no entry');
});

t.test('leafPieces: cut at what one entry can say', async (t) => {
  const long = { logical: 0, physical: 10, length: 70000, unwritten: false };
  t.strictSame(
    leafPieces([long]).map(({ logical, physical, length }) => [logical, physical, length]),
    [
      [0, 10, 32768],
      [32768, 32778, 32768],
      [65536, 65546, 4464],
    ],
  );
  const unwritten = leafPieces([{ ...long, unwritten: true }]);
  t.strictSame(
    unwritten.map(({ length }) => length),
    [32767, 32767, 4466],
  );
});

t.test('verifyNode: covers the room for entries, and no byte behind it', async (t) => {
  const node = Buffer.alloc(4096);
  encodeLeaf(node, [{ logical: 0, physical: 1, length: 1, unwritten: false }]);
  sealNode(node, 77);
  verifyNode(node, 77, 14);
  t.throws(() => verifyNode(node, 78, 14), { name: 'DaxdError', code: 'EBADMSG' });
  for (const offset of [0, 11, 12, 4091, 4092, 4095]) {
    const flipped = Buffer.from(node);
    flipped[offset] = (flipped[offset] ?? 0) ^ 0x10;
    // Magic and room are checked before; the place of the checksum depends on the latter.
    t.throws(() => verifyNode(flipped, 77, 14), { name: 'DaxdError', code: 'EBADMSG' });
  }
});
