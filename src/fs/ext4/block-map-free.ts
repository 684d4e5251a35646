import { damaged } from '../damage.js';
import { freeBlocks, METADATA } from './allocator.js';
import type { FreeLeave } from './allocator.js';
import { checkMapEntry, entriesWithin, MAP_ENTRY_SIZE, mapParts, partBelow } from './block-map.js';
import type { MapPart } from './block-map.js';
import type { BlockSpan } from './extent.js';
import type { Inode } from './inode.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** What of a file with a block map is freed. */
export interface MappedRequest {
  readonly inode: Inode;
  readonly span: BlockSpan;
  /** Whether the transaction has no room for more. */
  readonly isFull: () => boolean;
}

/**
 * Takes blocks of a span from a file with a block map and frees them, from the end on, with those blocks
 * of the map that only name such: as many as fit into the transaction, at least some. The caller stores
 * the inode.
 *
 * @throws DaxdError EUCLEAN
 * @kernel ext4_ind_truncate (fs/ext4/indirect.c)
 */
export function freeMapped(
  txn: Transaction,
  volume: Volume,
  request: MappedRequest,
  leave: FreeLeave,
): { readonly blocks: number; readonly isLast: boolean } {
  const { inode } = request;
  const walk = new FreeWalk(txn, volume, request, leave);
  const isLast = mapParts(inode)
    .toReversed()
    .every((part) => walk.free(part));
  if (walk.freed > inode.blocks) {
    throw damaged(
      `block map of inode ${inode.number}: more blocks than the ${inode.blocks} it counts`,
    );
  }
  inode.blocks -= walk.freed;
  return { blocks: walk.data, isLast };
}

class FreeWalk {
  /** Blocks of data, and all. */
  data = 0;
  freed = 0;
  readonly #txn: Transaction;
  readonly #volume: Volume;
  readonly #request: MappedRequest;
  readonly #leave: FreeLeave;

  constructor(txn: Transaction, volume: Volume, request: MappedRequest, leave: FreeLeave) {
    this.#txn = txn;
    this.#volume = volume;
    this.#request = request;
    this.#leave = leave;
  }

  /** True when all of the span is gone from a part. */
  free(part: MapPart): boolean {
    const { first, end } = entriesWithin(part, this.#request.span);
    for (let i = end - 1; i >= first; i--) {
      if (entryOf(part, i) === 0) continue;
      if (this.freed > 0 && this.#request.isFull()) return false;
      if (part.depth === 0) i = this.#freeData(part, first, i);
      else if (!this.#freeBelow(part, i)) return false;
    }
    return true;
  }

  /** Frees the run of blocks that ends with an entry, and gives the entry that it begins with. */
  #freeData(part: MapPart, first: number, last: number): number {
    const map = { volume: this.#volume, inode: this.#request.inode };
    let i = last;
    checkMapEntry(map, entryOf(part, i));
    while (i > first && entryOf(part, i - 1) === entryOf(part, i) - 1) {
      i--;
      checkMapEntry(map, entryOf(part, i));
    }
    const count = last - i + 1;
    freeBlocks(this.#txn, this.#volume, { start: entryOf(part, i), count }, this.#leave);
    part.entries.fill(0, i * MAP_ENTRY_SIZE, (last + 1) * MAP_ENTRY_SIZE);
    this.data += count;
    this.freed += count;
    return i;
  }

  #freeBelow(part: MapPart, i: number): boolean {
    const { span, inode } = this.#request;
    const block = entryOf(part, i);
    checkMapEntry({ volume: this.#volume, inode }, block);
    const below = partBelow(part, i, this.#txn.modify(block));
    if (!this.free(below)) return false;
    if (below.logical < span.from || below.logical + part.step > span.to) return true;
    freeBlocks(this.#txn, this.#volume, { start: block, count: 1 }, METADATA);
    part.entries.writeUInt32LE(0, i * MAP_ENTRY_SIZE);
    this.freed++;
    return true;
  }
}

function entryOf({ entries }: MapPart, i: number): number {
  return entries.readUInt32LE(i * MAP_ENTRY_SIZE);
}
