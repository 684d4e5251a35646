import t from 'tap';

import { checkFeatures, readOnlyReasons } from '../../../../src/fs/ext4/feature-gate.js';
import { encodeSuperblock } from '../../../../src/fs/ext4/mkfs-records.js';
import { planMkfs } from '../../../../src/fs/ext4/mkfs-geometry.js';
import { checkGeometry, sealSuperblock, Superblock } from '../../../../src/fs/ext4/superblock.js';
import { MIB } from '../../../../src/lib/units.js';

const SIZE = 256 * MIB;

/** A superblock as daxd's own mkfs writes it, changed and sealed again. */
function superblock(patch: (bytes: Buffer) => void = () => {}): Superblock {
  const geometry = planMkfs(SIZE);
  const identity = {
    uuid: Buffer.from('0123456789abcdef0123456789abcdef', 'hex'),
    hashSeed: Buffer.alloc(16, 1),
    label: Buffer.from('data'),
    nowSeconds: 1_700_000_000,
  };
  const counts = geometry.groups.map(() => ({ freeBlocks: 1, freeInodes: 1, usedDirectories: 0 }));
  const journalInode = Buffer.alloc(256);
  const bytes = encodeSuperblock(geometry, identity, counts, { group: 0, journalInode });
  patch(bytes);
  sealSuperblock(bytes);
  return new Superblock(bytes);
}

t.test('Superblock: names, sizes and groups', async (t) => {
  const sb = superblock();
  t.equal(sb.label, 'data');
  t.equal(sb.uuid, '01234567-89ab-cdef-0123-456789abcdef');
  t.equal(sb.blocksCount, SIZE / 4096);
  t.equal(sb.groupCount, 2);
  t.equal(sb.groupStart(1), 32768);
  t.equal(sb.groupBlocks(1), 32768);
  t.equal(sb.inodeSize, 256);
  t.equal(sb.inodeTableBlocks * 16, sb.inodesPerGroup);
  const copies = Array.from({ length: 50 }, (_, i) => i).filter((i) => sb.hasSuperCopy(i));
  t.strictSame(copies, [0, 1, 3, 5, 7, 9, 25, 27, 49]);
  checkGeometry(sb, SIZE);
  checkFeatures(sb);
  t.strictSame(readOnlyReasons(sb), []);
});

t.test('Superblock: magic and checksum', async (t) => {
  const { bytes } = superblock();
  const flipped = Buffer.from(bytes);
  flipped[0x78] = 0x5a;
  t.throws(() => new Superblock(flipped), { name: 'DaxdError', code: 'EBADMSG' });
  t.throws(() => new Superblock(Buffer.alloc(1024)), { name: 'DaxdError', code: 'EINVAL' });
});

t.test('checkGeometry: a partition that is too small', async (t) => {
  t.throws(
    () => {
      checkGeometry(superblock(), SIZE - 4096);
    },
    { name: 'DaxdError', code: 'EUCLEAN' },
  );
});

t.test('checkFeatures: every unknown incompat bit is refused', async (t) => {
  const known = new Set([0x2, 0x4, 0x40, 0x80, 0x200, 0x2000]);
  for (let bit = 0; bit < 32; bit++) {
    const flag = 2 ** bit;
    const sb = superblock((bytes) => {
      bytes.writeUInt32LE((bytes.readUInt32LE(0x60) | flag) >>> 0, 0x60);
    });
    if (known.has(flag)) checkFeatures(sb);
    else
      t.throws(
        () => {
          checkFeatures(sb);
        },
        { name: 'DaxdError', code: 'EOPNOTSUPP' },
        `bit ${bit}`,
      );
  }
});

t.test('readOnlyReasons: every unknown ro_compat bit is one', async (t) => {
  const known = new Set([0x1, 0x2, 0x8, 0x20, 0x40, 0x400, 0x10000]);
  for (let bit = 0; bit < 32; bit++) {
    const flag = 2 ** bit;
    const sb = superblock((bytes) => {
      bytes.writeUInt32LE((bytes.readUInt32LE(0x64) | flag) >>> 0, 0x64);
    });
    const isReason = readOnlyReasons(sb).some((reason) => reason.includes('is only read'));
    t.equal(isReason, !known.has(flag), `bit ${bit}`);
  }
});

t.test('readOnlyReasons: what a mount left behind names e2fsck', async (t) => {
  const cases: readonly ((bytes: Buffer) => void)[] = [
    (bytes) => bytes.writeUInt16LE(0, 0x3a),
    (bytes) => bytes.writeUInt16LE(3, 0x3a),
  ];
  for (const patch of cases) {
    const reasons = readOnlyReasons(superblock(patch));
    t.equal(reasons.length, 1);
    t.match(reasons[0], /run e2fsck -fy/);
  }
});
