import t from 'tap';

import { DxHash, nameHash } from '../../../../src/fs/ext4/dx-hash.js';
import { SuperField, SuperFlag } from '../../../../src/fs/ext4/layout.js';
import { InvariantError } from '../../../../src/lib/assert.js';

const LONG = 'a-name-of-thirty-six-bytes-or-there.ab';
const SEED = Buffer.from('0f1e2d3c4b5a49788796a5b4c3d2e1f0', 'hex');

function superblock({ flags = 0, seed }: { flags?: number; seed?: Buffer } = {}): {
  bytes: Buffer;
} {
  const bytes = Buffer.alloc(1024);
  bytes.writeUInt32LE(flags, SuperField.Flags);
  seed?.copy(bytes, SuperField.HashSeed);
  return { bytes };
}

// What debugfs answers to dx_hash.
t.test('nameHash: known answers without a seed', async (t) => {
  const signed = superblock({ flags: SuperFlag.SignedHash });
  const answers: readonly (readonly [number, string, number])[] = [
    [DxHash.Legacy, 'a', 0xe74b53e2],
    [DxHash.HalfMd4, 'a', 0xd5fa7d7a],
    [DxHash.Tea, 'a', 0x6d0ea4c0],
    [DxHash.Legacy, LONG, 0xa030d85e],
    [DxHash.HalfMd4, LONG, 0x60796ffa],
    [DxHash.Tea, LONG, 0x192e2f74],
  ];
  for (const [version, name, hash] of answers) {
    t.equal(nameHash(signed, version)(Buffer.from(name)), hash, `${version} of ${name}`);
  }
});

t.test('nameHash: the seed of the superblock changes all but the legacy hash', async (t) => {
  const sb = superblock({ seed: SEED });
  const name = Buffer.from('a');
  t.equal(nameHash(sb, DxHash.HalfMd4)(name), 0x19e7411e);
  t.equal(nameHash(sb, DxHash.Tea)(name), 0x1141301c);
  t.equal(nameHash(sb, DxHash.Legacy)(name), 0xe74b53e2);
});

t.test('nameHash: bytes from 0x80 on count as the flags say, signed without a flag', async (t) => {
  const name = Buffer.from('café');
  const answers = [
    [DxHash.Legacy, 0x96ca5a2c, 0x6dde4230],
    [DxHash.HalfMd4, 0xfb9c5e5c, 0x9d72aed6],
    [DxHash.Tea, 0x105842ea, 0x6621f032],
  ] as const;
  for (const [version, signed, unsigned] of answers) {
    t.equal(nameHash(superblock(), version)(name), signed);
    t.equal(nameHash(superblock({ flags: SuperFlag.SignedHash }), version)(name), signed);
    t.equal(nameHash(superblock({ flags: SuperFlag.UnsignedHash }), version)(name), unsigned);
  }
});

t.test('nameHash: never odd, and another version breaks an invariant', async (t) => {
  const hashOf = nameHash(superblock(), DxHash.Legacy);
  const hashes = Array.from({ length: 1000 }, (_, i) => hashOf(Buffer.from(`name ${i}`)));
  t.ok(hashes.every((hash) => hash % 2 === 0 && hash >= 0));
  t.throws(() => nameHash(superblock(), 3), InvariantError);
});
