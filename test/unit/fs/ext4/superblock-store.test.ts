import t from 'tap';

import { EXT4_MAGIC, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE } from '../../../../src/fs/ext4/layout.js';
import {
  loadSuperblockBytes,
  storeSuperblockBytes,
} from '../../../../src/fs/ext4/superblock-store.js';
import { isSuperblockWhole, sealSuperblock } from '../../../../src/fs/ext4/superblock.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../support/memory-backing.js';
import { testSeed } from '../../../support/random-test.js';
import { SeededRandom } from '../../../support/seeded-random.js';

const BLOCK = 4096;
const LINE = 64;
const UUID_OFFSET = 0x68;
const MAGIC_OFFSET = 0x38;

/** A superblock of this uuid that differs from others in every line. */
function superblock(uuid: Buffer, random: SeededRandom): Buffer {
  const bytes = Buffer.from(random.bytes(SUPERBLOCK_SIZE));
  uuid.copy(bytes, UUID_OFFSET);
  bytes.writeUInt16LE(EXT4_MAGIC, MAGIC_OFFSET);
  sealSuperblock(bytes);
  return bytes;
}

/** Each line of a block from one of two states of it. */
function torn(before: Buffer, after: Buffer, random: SeededRandom): Buffer {
  const mixed = Buffer.from(before);
  for (let at = 0; at < BLOCK; at += LINE) {
    if (random.below(2) === 0) after.copy(mixed, at, at, at + LINE);
  }
  return mixed;
}

/** The block with one line of `before` in it, for each line. */
function* almost(before: Buffer, after: Buffer): Generator<Buffer> {
  for (let at = 0; at < BLOCK; at += LINE) {
    const mixed = Buffer.from(after);
    before.copy(mixed, at, at, at + LINE);
    yield mixed;
  }
}

/** What a power cut may leave of a block between two persists. */
function* cuts(before: Buffer, after: Buffer, random: SeededRandom): Generator<Buffer> {
  yield before;
  yield after;
  yield* almost(before, after);
  yield* almost(after, before);
  for (let i = 0; i < 50; i++) yield torn(before, after, random);
}

/** Stores a superblock over a block, and gives what may be there at each power cut. */
async function storeOver(block: Buffer, bytes: Buffer, random: SeededRandom): Promise<Buffer[]> {
  const states: Buffer[] = [];
  let before = Buffer.from(block);
  const backing = new MemoryBacking(BLOCK, {
    onPersist: () => {
      const after = Buffer.from(backing.mapping.view(0, BLOCK));
      states.push(...cuts(before, after, random));
      before = after;
    },
  });
  backing.mapping.write(0, block);
  await storeSuperblockBytes(new BackingRange(backing, 0, BLOCK), bytes);
  return states;
}

function load(block: Buffer): Buffer {
  const backing = new MemoryBacking(BLOCK);
  backing.mapping.write(0, block);
  return loadSuperblockBytes(new BackingRange(backing, 0, BLOCK));
}

t.test(
  'storeSuperblockBytes: a power cut, and one more in the next store, lose nothing',
  async (t) => {
    const random = new SeededRandom(testSeed(t));
    const uuid = Buffer.from(random.bytes(16));
    const [first, second, third] = [
      superblock(uuid, random),
      superblock(uuid, random),
      superblock(uuid, random),
    ];
    const block = Buffer.alloc(BLOCK);
    first.copy(block, SUPERBLOCK_OFFSET);
    let twice = 0;
    const lost: string[] = [];
    for (const cut of await storeOver(block, second, random)) {
      const found = load(cut);
      t.ok(found.equals(first) || found.equals(second), 'it is the old one or the new one');
      const inPlace = cut.subarray(SUPERBLOCK_OFFSET, SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE);
      if (isSuperblockWhole(Buffer.from(inPlace))) continue;
      for (const again of await storeOver(cut, third, random)) {
        const then = load(again);
        if (!then.equals(found) && !then.equals(third)) lost.push(`second power cut ${twice}`);
        twice++;
      }
    }
    t.strictSame(lost, [], 'it is the one before or the one after');
    t.ok(twice > 1000, `${twice} second power cuts`);
  },
);
