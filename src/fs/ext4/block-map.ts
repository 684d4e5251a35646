import { damaged } from '../damage.js';
import { asOne, goesOn } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import type { BlockSource } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * The map of ext2 and ext3: block numbers of 32 bits, 0 for a hole. The first 12 in i_block name data; the
 * last three a block of such numbers, a block of the numbers of those, and once more.
 */
const DIRECT = 12;
export const MAP_ENTRY_SIZE = 4;
const ENTRIES = BLOCK_SIZE / MAP_ENTRY_SIZE;

/** What of a file is looked up in its map. */
export interface MappedSpan extends BlockSpan {
  /** Ends with this many extents. */
  readonly max: number;
}

/** A part of a map, in i_block or one of its blocks. */
export interface MapPart {
  readonly entries: Buffer;
  /** How many blocks of numbers lie between these and the data. */
  readonly depth: number;
  /** Logical block of the first entry, and how many each one maps. */
  readonly logical: number;
  readonly step: number;
}

/** The map of one inode as a source shows it. */
export interface BlockMap {
  readonly source: BlockSource;
  readonly volume: Volume;
  readonly inode: Inode;
}

/** The parts of a map that i_block holds, ascending: to be changed in place. */
export function mapParts({ iBlock }: Inode): MapPart[] {
  const parts: MapPart[] = [];
  let logical = 0;
  let from = 0;
  for (const [depth, count] of [DIRECT, 1, 1, 1].entries()) {
    const step = ENTRIES ** depth;
    const entries = iBlock.subarray(from * MAP_ENTRY_SIZE, (from + count) * MAP_ENTRY_SIZE);
    parts.push({ entries, depth, logical, step });
    logical += count * step;
    from += count;
  }
  return parts;
}

/** The part in a block that an entry of another one names. */
export function partBelow({ depth, logical, step }: MapPart, i: number, entries: Buffer): MapPart {
  return { entries, depth: depth - 1, logical: logical + i * step, step: step / ENTRIES };
}

/** The entries [first, end) of a part that map any of a span. */
export function entriesWithin(
  { entries, logical, step }: MapPart,
  span: BlockSpan,
): { readonly first: number; readonly end: number } {
  const first = Math.max(0, Math.floor((span.from - logical) / step));
  const end = Math.min(entries.length / MAP_ENTRY_SIZE, Math.ceil((span.to - logical) / step));
  return { first, end };
}

/** @throws DaxdError EUCLEAN for a block that no file may have */
export function checkMapEntry({ volume, inode }: Omit<BlockMap, 'source'>, block: number): void {
  volume.assertBlocks(block, 1, `block map of inode ${inode.number}`);
  if (!volume.systemZone.overlaps(block, 1)) return;
  throw damaged(
    `block map of inode ${inode.number}: block ${block} belongs to the filesystem's tables`,
  );
}

/**
 * What an inode with a block map has in a span, ascending, as extents, of which every one is written.
 *
 * @throws DaxdError EUCLEAN
 * @kernel ext4_ind_map_blocks (fs/ext4/indirect.c)
 */
export function mappedExtents(map: BlockMap, span: MappedSpan): Extent[] {
  const walk = new MapWalk(map, span);
  for (const part of mapParts(map.inode)) walk.collect(part);
  // One more was looked for: up to it the last one may go on.
  return walk.extents.slice(0, span.max);
}

class MapWalk {
  readonly extents: Extent[] = [];
  readonly #map: BlockMap;
  readonly #span: MappedSpan;
  /** Blocks of numbers. */
  readonly #walked = new Set<number>();
  #blocks = 0;

  constructor(map: BlockMap, span: MappedSpan) {
    this.#map = map;
    this.#span = span;
  }

  collect(part: MapPart): void {
    const { entries, depth, logical } = part;
    const { first, end } = entriesWithin(part, this.#span);
    for (let i = first; i < end; i++) {
      const block = entries.readUInt32LE(i * MAP_ENTRY_SIZE);
      if (block === 0) continue;
      if (this.extents.length > this.#span.max) return;
      this.#count(block);
      if (depth > 0) this.collect(partBelow(part, i, this.#numbersIn(block)));
      else this.#add({ logical: logical + i, physical: block, length: 1, unwritten: false });
    }
  }

  /** A walk that came to one twice would find as many extents as it likes in few bytes. */
  #numbersIn(block: number): Buffer {
    const { source, inode } = this.#map;
    if (this.#walked.has(block)) {
      throw damaged(`block map of inode ${inode.number}: block ${block} of it is named twice`);
    }
    this.#walked.add(block);
    return source.block(block);
  }

  #add(extent: Extent): void {
    const last = this.extents.at(-1);
    if (last !== undefined && goesOn(last, extent)) {
      this.extents[this.extents.length - 1] = asOne(last, extent);
    } else {
      this.extents.push(extent);
    }
  }

  /** No block stands in a sane map twice: a walk through any other ends here. */
  #count(block: number): void {
    checkMapEntry(this.#map, block);
    const { volume, inode } = this.#map;
    this.#blocks++;
    if (this.#blocks <= volume.superblock.blocksCount) return;
    throw damaged(`block map of inode ${inode.number}: more blocks than the filesystem has`);
  }
}
