import type { SeededRandom } from '../seeded-random.js';
import { type Atlas, BLOCK, inodeOffset, type Kind, type Structure } from './atlas.js';

/** What a recipe works on. */
interface Kitchen {
  readonly image: Buffer;
  readonly atlas: Atlas;
  readonly random: SeededRandom;
}

/** A lie that holds together, told in a few fields at once. */
export interface Recipe {
  readonly title: string;
  /** Gives what must be sealed again; `undefined` where the image has no such structure. */
  readonly apply: (kitchen: Kitchen) => readonly Structure[] | undefined;
}

const EXTENTS_FLAG = 0x80000;
const TREE = 0x28;

export const RECIPES: readonly Recipe[] = [
  recipe('extent tree that is its own child', 'extent block', ({ image }, block) => {
    image.writeUInt16LE(2, block.offset + 6);
    image.writeUInt32LE(block.offset / BLOCK, block.offset + 12 + 4);
    image.writeUInt16LE(0, block.offset + 12 + 8);
  }),
  recipe('root that points at any block', 'inode', ({ image, random, atlas }, inode) => {
    if (!hasExtents(image, inode)) return;
    image.writeUInt16LE(1 + random.below(6), inode.offset + TREE + 6);
    image.writeUInt32LE(random.below(atlas.blocks + 8), inode.offset + TREE + 12 + 4);
  }),
  recipe('two extents over each other', 'extent block', ({ image }, block) => {
    image.copy(image, block.offset + 24 + 8, block.offset + 12 + 8, block.offset + 24);
  }),
  recipe('two extents at one place of the file', 'extent block', ({ image }, block) => {
    image.copy(image, block.offset + 24, block.offset + 12, block.offset + 16);
  }),
  recipe('extents of two files over each other', 'inode', ({ image, random, atlas }, inode) => {
    const other = random.pick(atlas.byKind.get('inode') ?? []);
    if (!other || !hasExtents(image, inode) || !hasExtents(image, other)) return;
    image.copy(image, inode.offset + TREE, other.offset + TREE, other.offset + TREE + 60);
  }),
  recipe('file over the tables', 'inode', ({ image, random, atlas }, inode) => {
    if (!hasExtents(image, inode)) return;
    const table = random.pick(atlas.structures)?.offset ?? 0;
    image.writeUInt16LE(0, inode.offset + TREE + 6);
    image.writeUInt16LE(1, inode.offset + TREE + 2);
    image.writeUInt16LE(1 + random.below(16), inode.offset + TREE + 12 + 4);
    image.writeUInt32LE(Math.floor(table / BLOCK), inode.offset + TREE + 12 + 8);
  }),
  recipe('more entries than fit', 'extent block', ({ image, random }, block) => {
    image.writeUInt16LE(340 + random.below(2000), block.offset + 2);
    if (random.below(2) === 0) image.writeUInt16LE(65535, block.offset + 4);
  }),
  recipe('hostile size of a file', 'inode', ({ image, random }, inode) => {
    const high = [0, 1, 0xfff, 0x1000, 0x1fffff, 0x7fffffff, 0xffffffff];
    image.writeUInt32LE(random.pick(high) ?? 0, inode.offset + 0x6c);
    image.writeUInt32LE(random.pick([0, 1, 0xfffffffe, 0xffffffff]) ?? 0, inode.offset + 0x04);
  }),
  recipe('another type with the same content', 'inode', ({ image, random }, inode) => {
    const type = random.pick([0x1000, 0x2000, 0x4000, 0x6000, 0x8000, 0xa000, 0xc000, 0xf000]) ?? 0;
    image.writeUInt16LE(type | 0o644, inode.offset);
  }),
  recipe('links that are not', 'inode', ({ image, random }, inode) => {
    image.writeUInt16LE(random.pick([0, 1, 2, 64999, 65000, 65535]) ?? 0, inode.offset + 0x1a);
  }),
  recipe('flags of another kind of inode', 'inode', ({ image, random }, inode) => {
    const flags = random.pick([
      0, 0x1000, 0x80000, 0x81000, 0x10000000, 0x10, 0x20, 0x40000, 0x800,
    ]);
    image.writeUInt32LE(flags ?? 0, inode.offset + 0x20);
  }),
  recipe('directory that contains itself or its parents', 'directory leaf', (kitchen, leaf) => {
    const entry = laterEntry(kitchen, leaf);
    kitchen.image.writeUInt32LE(kitchen.random.below(3) === 0 ? 2 : leaf.owner, entry);
    kitchen.image.writeUInt8(2, entry + 7);
  }),
  recipe('entry that names any inode', 'directory leaf', (kitchen, leaf) => {
    const { image, random, atlas } = kitchen;
    const entry = laterEntry(kitchen, leaf);
    image.writeUInt32LE(random.below(atlas.inodes + 4), entry);
    if (random.below(2) === 0) image.writeUInt8(random.below(9), entry + 7);
  }),
  recipe('record over all of the block', 'directory leaf', (kitchen, leaf) => {
    const entry = laterEntry(kitchen, leaf);
    kitchen.image.writeUInt16LE(
      kitchen.random.pick([0, 4, 8, 4084, 4096, 65535, 65532]) ?? 0,
      entry + 4,
    );
  }),
  recipe('index that points at itself', 'index root', ({ image, random }, root) => {
    image.writeUInt32LE(0, root.offset + 0x24 + 8 * random.below(3));
    image.writeUInt8(random.below(3), root.offset + 0x1e);
  }),
  recipe('index with more entries than room', 'index root', ({ image, random }, root) => {
    image.writeUInt16LE(random.pick([0, 1, 508, 509, 65535]) ?? 0, root.offset + 0x22);
    if (random.below(2) === 0)
      image.writeUInt16LE(random.pick([0, 1, 508, 65535]) ?? 0, root.offset + 0x20);
  }),
  recipe('leaf where the index has its root', 'index root', ({ image, random, atlas }, root) => {
    const leaf = random.pick(atlas.byKind.get('directory leaf') ?? []);
    if (leaf) image.copy(image, root.offset, leaf.offset, leaf.offset + BLOCK);
  }),
  recipe('symlink of any length', 'inode', ({ image, random }, inode) => {
    image.writeUInt16LE(0xa1ff, inode.offset);
    const size = random.pick([0, 1, 59, 60, 61, 4095, 4096, 4097, 2 ** 31, 2 ** 32 - 1]) ?? 0;
    image.writeUInt32LE(size, inode.offset + 4);
    if (random.below(2) === 0) image.writeUInt32LE(0, inode.offset + 0x20);
  }),
  recipe(
    'descriptor that points anywhere',
    'descriptor',
    ({ image, random, atlas }, descriptor) => {
      const at = descriptor.offset + 4 * random.below(3);
      image.writeUInt32LE(random.below(atlas.blocks + 4), at);
      if (random.below(8) === 0) image.writeUInt32LE(random.below(2 ** 32), at + 0x20);
    },
  ),
  recipe('tables never initialised, it says', 'descriptor', ({ image, random }, descriptor) => {
    image.writeUInt16LE(random.below(8), descriptor.offset + 0x12);
    image.writeUInt16LE(random.below(300), descriptor.offset + 0x1c);
  }),
  recipe('everything free', 'block bitmap', ({ image }, bitmap) => {
    image.fill(0, bitmap.offset, bitmap.offset + 128);
  }),
  recipe('inodes free that are in use', 'inode bitmap', ({ image, random }, bitmap) => {
    image.fill(random.pick([0, 0xff, 0x55]) ?? 0, bitmap.offset, bitmap.offset + 8);
  }),
  recipe('orphans in a ring', 'superblock', ({ image, random, atlas }, superblock) => {
    const [a, b] = [1 + random.below(atlas.inodes), 1 + random.below(atlas.inodes)];
    image.writeUInt32LE(a, superblock.offset + 0xe8);
    image.writeUInt32LE(b, inodeOffset(atlas, a) + 0x14);
    image.writeUInt32LE(a, inodeOffset(atlas, b) + 0x14);
    return (atlas.byKind.get('inode') ?? []).filter(({ owner }) => owner === a || owner === b);
  }),
  recipe('any inode an orphan', 'orphan block', ({ image, random, atlas }, block) => {
    for (let i = random.below(6); i >= 0; i--) {
      const number = random.below(4) === 0 ? random.below(2 ** 32) : random.below(atlas.inodes + 2);
      image.writeUInt32LE(number, block.offset + 4 * random.below(1022));
    }
    setOrphanPresent(image);
    return atlas.byKind.get('superblock') ?? [];
  }),
  recipe(
    'files in use without a name, as orphans',
    'orphan block',
    ({ image, random, atlas }, block) => {
      const inode = random.pick(atlas.byKind.get('inode') ?? []);
      if (!inode) return [];
      image.writeUInt16LE(random.below(2), inode.offset + 0x1a);
      image.writeUInt32LE(inode.owner, block.offset);
      setOrphanPresent(image);
      return [inode, ...(atlas.byKind.get('superblock') ?? [])];
    },
  ),
  recipe('attributes that lie over each other', 'attribute block', ({ image, random }, block) => {
    image.writeUInt16LE(random.pick([0, 32, 33, 60, 4092, 4096, 65535]) ?? 0, block.offset + 0x22);
    image.writeUInt32LE(random.pick([0, 1, 4064, 4096, 2 ** 32 - 1]) ?? 0, block.offset + 0x28);
  }),
  recipe('one block of attributes for all', 'inode', ({ image, random, atlas }, inode) => {
    const block = random.pick(atlas.structures)?.offset ?? 0;
    image.writeUInt32LE(Math.floor(block / BLOCK), inode.offset + 0x68);
  }),
  recipe('geometry that does not hold', 'superblock', ({ image, random }, superblock) => {
    const field = random.pick([0x00, 0x04, 0x18, 0x20, 0x24, 0x28]) ?? 0;
    const now = image.readUInt32LE(superblock.offset + field);
    const value = random.pick([0, 1, 8, now / 2, now * 2, now - 8, now + 8, 2 ** 32 - 8]) ?? 0;
    image.writeUInt32LE(Math.floor(value) >>> 0, superblock.offset + field);
  }),
  recipe('journal in any inode', 'superblock', ({ image, random, atlas }, superblock) => {
    image.writeUInt32LE(random.below(atlas.inodes + 2), superblock.offset + 0xe0);
    if (random.below(2) === 0) setRecover(image);
  }),
  recipe(
    'journal that needs replay, it says',
    'journal superblock',
    ({ image, random, atlas }, jsb) => {
      const blocks = image.readUInt32BE(jsb.offset + 0x10);
      image.writeUInt32BE(random.below(blocks + 2), jsb.offset + 0x1c);
      setRecover(image);
      return atlas.byKind.get('superblock') ?? [];
    },
  ),
  recipe('journal of hostile size', 'journal superblock', ({ image, random, atlas }, jsb) => {
    const lengths = [0, 1, 2, 3, 1023, 1025, 2 ** 31, 2 ** 32 - 1];
    image.writeUInt32BE(random.pick(lengths) ?? 0, jsb.offset + 0x10);
    if (random.below(2) === 0) image.writeUInt32BE(random.below(2000), jsb.offset + 0x14);
    setRecover(image);
    return atlas.byKind.get('superblock') ?? [];
  }),
  recipe('journal that replays over itself or the tables', 'journal block', (kitchen, block) => {
    const { image, random, atlas } = kitchen;
    const aim = random.pick(atlas.structures)?.offset ?? 0;
    // The first tag of a descriptor, a later one behind the UUID, or a revoked block.
    const tag = random.pick([0x0c, 0x2c, 0x3c, 0x14]) ?? 0x0c;
    const number = random.below(4) === 0 ? random.below(2 ** 32) : Math.floor(aim / BLOCK);
    image.writeUInt32BE(number, block.offset + tag);
  }),
  recipe(
    'counts of revoked blocks and flags of tags',
    'journal block',
    ({ image, random }, block) => {
      const at = random.pick([0x0c, 0x10, 0x30]) ?? 0x0c;
      image.writeUInt32BE(
        random.pick([0, 1, 2, 4, 8, 15, 16, 17, 4080, 4096, 2 ** 32 - 1]) ?? 0,
        block.offset + at,
      );
    },
  ),
  recipe('one structure in the place of another', 'inode', ({ image, random, atlas }) => {
    const from = random.pick(atlas.structures);
    const same = atlas.structures.filter(({ length }) => length === from?.length);
    const to = random.pick(same);
    if (from && to) image.copy(image, to.offset, from.offset, from.offset + from.length);
    return to && [to];
  }),
];

/** A recipe for one random structure of a kind; what else it touched, `apply` gives. */
function recipe(
  title: string,
  kind: Kind,
  apply: (kitchen: Kitchen, structure: Structure) => readonly Structure[] | void,
): Recipe {
  return {
    title,
    apply: (kitchen) => {
      const structure = kitchen.random.pick(kitchen.atlas.byKind.get(kind) ?? []);
      if (structure === undefined) return undefined;
      return [structure, ...(apply(kitchen, structure) ?? [])];
    },
  };
}

function hasExtents(image: Buffer, inode: Structure): boolean {
  return (image.readUInt32LE(inode.offset + 0x20) & EXTENTS_FLAG) !== 0;
}

/** An entry of a directory block behind "." and "..". */
function laterEntry({ image, random }: Kitchen, leaf: Structure): number {
  let at = leaf.offset;
  for (let steps = 2 + random.below(6); steps > 0; steps--) {
    const length = image.readUInt16LE(at + 4);
    if (length < 8 || at + length >= leaf.offset + BLOCK - 12) break;
    at += length;
  }
  return at;
}

function setRecover(image: Buffer): void {
  image.writeUInt8(image.readUInt8(1024 + 0x60) | 4, 1024 + 0x60);
}

function setOrphanPresent(image: Buffer): void {
  image.writeUInt8(image.readUInt8(1024 + 0x66) | 1, 1024 + 0x66);
}
