import type { SeededRandom } from '../seeded-random.js';
import { BLOCK, type Kind, type Structure } from './atlas.js';

/** A number within a structure. */
export interface Field {
  readonly at: number;
  /** 1, 2 or 4 bytes. */
  readonly width: number;
  readonly isBig: boolean;
}

type Fixed = readonly (readonly [width: number, ...places: readonly number[]])[];

const SUPERBLOCK: Fixed = [
  [4, 0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x4c, 0x54, 0x5c, 0x60],
  [4, 0x64, 0x68, 0xe0, 0xe4, 0xe8, 0xec, 0x10c, 0x118, 0x11c, 0x120, 0x150, 0x154, 0x158],
  [4, 0x160, 0x270, 0x280],
  [2, 0x38, 0x3a, 0x3c, 0x58, 0x5a, 0xce, 0xfe, 0x15c, 0x15e],
  [1, 0xfc, 0xfd, 0x174, 0x175, 0x5c, 0x5d, 0x60, 0x61, 0x64, 0x65, 0x66],
];
const DESCRIPTOR: Fixed = [
  [4, 0x00, 0x04, 0x08, 0x20, 0x24, 0x28],
  [2, 0x0c, 0x0e, 0x10, 0x12, 0x18, 0x1a, 0x1c, 0x2c, 0x2e, 0x30, 0x32, 0x38, 0x3a],
];
const INODE: Fixed = [
  [4, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x1c, 0x20, 0x64, 0x68, 0x6c, 0x84, 0x88, 0x8c, 0x90, 0x94],
  [2, 0x00, 0x00, 0x02, 0x18, 0x1a, 0x1a, 0x74, 0x76, 0x78, 0x7a, 0x80, 0x80],
  // The root of the extent tree, or a symlink's target, or a device.
  [2, 0x28, 0x2a, 0x2a, 0x2c, 0x2e, 0x2e, 0x38, 0x3a, 0x44, 0x46, 0x50, 0x52],
  [4, 0x28, 0x2c, 0x34, 0x38, 0x3c, 0x40, 0x44, 0x48, 0x4c, 0x50, 0x54],
  // Attributes within the inode.
  [4, 0xa0, 0xa8, 0xac, 0xb0],
  [2, 0xa6],
  [1, 0xa4, 0xa5, 0xb4],
];
const INDEX_ROOT: Fixed = [
  [4, 0x00, 0x0c, 0x18, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x3c],
  [2, 0x04, 0x10, 0x20, 0x20, 0x22, 0x22],
  [1, 0x06, 0x07, 0x12, 0x13, 0x1c, 0x1d, 0x1e, 0x1e, 0x1f],
];
const ATTRIBUTES: Fixed = [
  [4, 0x00, 0x04, 0x08, 0x0c, 0x24, 0x28, 0x2c, 0x38],
  [2, 0x22, 0x36],
  [1, 0x20, 0x21, 0x30, 0x34, 0x35],
];
const JOURNAL_SUPERBLOCK: Fixed = [
  [4, 0x00, 0x04, 0x08, 0x0c, 0x0c, 0x10, 0x10, 0x14, 0x14, 0x18, 0x1c, 0x1c, 0x1c, 0x20, 0x24],
  [4, 0x28, 0x2c, 0x30, 0x40, 0x54, 0x58],
  [1, 0x50],
];
const JOURNAL_BLOCK: Fixed = [
  [4, 0x00, 0x04, 0x08, 0x0c, 0x0c, 0x10, 0x14, 0x18, 0x2c, 0x30, 0x34, 0x3c, 0x40, 0x44],
];

const FIXED: Readonly<Partial<Record<Kind, Fixed>>> = {
  superblock: SUPERBLOCK,
  descriptor: DESCRIPTOR,
  inode: INODE,
  'index root': INDEX_ROOT,
  'attribute block': ATTRIBUTES,
  'journal superblock': JOURNAL_SUPERBLOCK,
  'journal block': JOURNAL_BLOCK,
};

/** The fields of a structure; of those that hold many alike, the ones of a random few. */
export function fieldsOf(image: Buffer, structure: Structure, random: SeededRandom): Field[] {
  const isBig = structure.kind.startsWith('journal');
  const fixed = FIXED[structure.kind];
  if (fixed !== undefined) {
    return fixed.flatMap(([width, ...places]) => places.map((at) => ({ at, width, isBig })));
  }
  const bytes = image.subarray(structure.offset, structure.offset + structure.length);
  return repeated(bytes, structure.kind, random).map(([width, at]) => ({ at, width, isBig }));
}

function repeated(bytes: Buffer, kind: Kind, random: SeededRandom): [number, number][] {
  if (kind === 'extent block') {
    const entry = 12 + 12 * random.below(Math.min(bytes.readUInt16LE(2) + 1, 340));
    const header: [number, number][] = [2, 4, 6].map((at) => [2, at]);
    return [...header, [4, entry], [2, entry + 4], [2, entry + 6], [4, entry + 8]];
  }
  if (kind === 'directory leaf') {
    const entry = randomEntry(bytes, random);
    return [
      [4, entry],
      [2, entry + 4],
      [1, entry + 6],
      [1, entry + 7],
      [1, entry + 8],
    ];
  }
  if (kind === 'orphan block')
    return [
      [4, 4 * random.below(8)],
      [4, BLOCK - 8],
    ];
  // A bitmap.
  return [
    [1, random.below(128)],
    [4, 4 * random.below(128)],
  ];
}

/** Where an entry of a directory block begins. */
function randomEntry(bytes: Buffer, random: SeededRandom): number {
  const entries: number[] = [];
  for (let at = 0; at < BLOCK - 12;) {
    entries.push(at);
    const length = bytes.readUInt16LE(at + 4);
    if (length < 8) break;
    at += length;
  }
  return random.pick(entries) ?? 0;
}
