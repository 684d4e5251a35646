import { MIB, roundDown, roundUp } from '../../lib/units.js';
import { blocksAround } from './byte-span.js';
import type { ByteSpan } from './byte-span.js';
import { DataStores } from './data-stores.js';
import { mapExtents, treeOf } from './extent-tree.js';
import { writtenOf } from './extent.js';
import type { Extent } from './extent.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { readRegular } from './regular-file.js';
import type { Volume } from './volume.js';

/** What is zeroed before others get a turn: some ten milliseconds of stores. */
const ZERO_PIECE_BLOCKS = (64 * MIB) / BLOCK_SIZE;

/**
 * Zeroes bytes of a file, durably, where they lie in written blocks; elsewhere they are zero.
 *
 * @throws DaxdError EISDIR, EINVAL, ENOENT, EIO, EBADMSG, EUCLEAN
 */
export async function zeroRest(volume: Volume, number: number, bytes: ByteSpan): Promise<void> {
  if (bytes.from >= bytes.to) return;
  const inode = readRegular(volume, volume, number);
  const stores = new DataStores(volume);
  stores.zero(writtenOf(mapExtents(treeOf(volume, volume, inode), blocksAround(bytes))), bytes);
  await stores.persist();
}

/** {@link zeroRest} of the parts of blocks at both ends of a range. */
export async function zeroEdges(volume: Volume, number: number, bytes: ByteSpan): Promise<void> {
  const { from, to } = bytes;
  const first = Math.min(to, roundUp(from, BLOCK_SIZE));
  const last = Math.max(first, roundDown(to, BLOCK_SIZE));
  await zeroRest(volume, number, { from, to: first });
  await zeroRest(volume, number, { from: last, to });
}

/**
 * Zeroes what lies behind the end of a file in its last block, up to `until` in bytes: whoever
 * wrote through a lease may have left something there, which must not show when the file grows.
 * Durable once the caller has `stores` persist.
 *
 * @throws DaxdError EIO, EBADMSG, EUCLEAN
 */
export function zeroPastEnd(volume: Volume, inode: Inode, until: number, stores: DataStores): void {
  const { size } = inode;
  const to = Math.min(until, Math.ceil(size / BLOCK_SIZE) * BLOCK_SIZE);
  if (to <= size) return;
  const block = Math.floor(size / BLOCK_SIZE);
  const last = mapExtents(treeOf(volume, volume, inode), { from: block, to: block + 1 });
  stores.zero(writtenOf(last), { from: size, to });
}

/** {@link zeroPastEnd} of all of the block, durably: for a file that grows by no write. */
export async function zeroBehind(volume: Volume, inode: Inode): Promise<void> {
  const stores = new DataStores(volume);
  zeroPastEnd(volume, inode, Infinity, stores);
  await stores.persist();
}

/**
 * Zeroes whole blocks, durably, which no reader of a file sees yet or any more, and lets others
 * have their turn in between.
 *
 * @param beforePiece what has to hold still; where it throws, the rest is left as it is
 * @throws DaxdError EIO, and what `beforePiece` throws
 */
export async function zeroInPieces(
  volume: Volume,
  extents: readonly Extent[],
  beforePiece: () => void,
): Promise<void> {
  const stores = new DataStores(volume);
  for (const { logical, length } of extents) {
    for (let done = 0; done < length; done += ZERO_PIECE_BLOCKS) {
      beforePiece();
      const from = (logical + done) * BLOCK_SIZE;
      const to = (logical + Math.min(length, done + ZERO_PIECE_BLOCKS)) * BLOCK_SIZE;
      stores.zero(extents, { from, to });
      await stores.persist();
    }
  }
}
