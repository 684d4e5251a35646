import { whenSpace } from './allocator.js';
import { DataStores, writtenOf } from './data-stores.js';
import { mapExtents, replaceExtents } from './extent-tree.js';
import { convertExtents } from './extent.js';
import { HoleFill } from './hole-fill.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { checkRange, readWritable, rereadWritable } from './regular-file.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/**
 * Writes to a file in place, past its end too: what lies between becomes a hole. Settles when
 * the data and the metadata that names it are durable. Waits for no pinned page.
 *
 * Data goes first: into blocks that the file has, or into reserved ones. When the write fails
 * before its one transaction, the file has no new block and its old size; bytes that it had
 * already may be new ones.
 *
 * @param source must not change until the write settles
 * @throws DaxdError EISDIR, EINVAL, EFBIG, ENOSPC, EROFS, EPERM, ENOENT, EIO
 * @kernel ext4_dax_write_iter (fs/ext4/file.c)
 */
export async function writeFile(
  volume: Volume,
  number: number,
  offset: number,
  source: Uint8Array,
): Promise<void> {
  const end = checkRange(offset, source.length);
  readWritable(volume, volume, number);
  if (end === offset) return;
  await volume.withInode(number, async () => {
    const { before, fill, stores } = await whenSpace(volume, () =>
      storeContent(volume, number, offset, source),
    );
    try {
      await stores.persist();
      await volume.transact((txn) => {
        nameContent(txn, volume, { before, fill, end });
      });
    } finally {
      fill.release();
    }
  });
}

/** A write whose data is stored, and not yet the file's where that takes new blocks. */
interface StoredContent {
  readonly before: Inode;
  readonly fill: HoleFill;
  readonly stores: DataStores;
}

function storeContent(
  volume: Volume,
  number: number,
  offset: number,
  source: Uint8Array,
): StoredContent {
  const before = readWritable(volume, volume, number);
  const end = offset + source.length;
  const span = { from: Math.floor(offset / BLOCK_SIZE), to: Math.ceil(end / BLOCK_SIZE) };
  const fill = HoleFill.reserve(volume, before, span);
  const stores = new DataStores(volume);
  try {
    zeroPastEnd(volume, before, offset, stores);
    const { stale } = fill;
    stores.zero(stale, { from: span.from * BLOCK_SIZE, to: offset });
    stores.zero(stale, { from: end, to: span.to * BLOCK_SIZE });
    stores.write([...fill.mapped, ...fill.laid], offset, source);
  } catch (error) {
    fill.release();
    throw error;
  }
  return { before, fill, stores };
}

/**
 * Zeroes what lies behind the end of a file in its last block, up to `until`: whoever wrote
 * through a lease may have left something there, which must not show when the file grows.
 */
export function zeroPastEnd(volume: Volume, inode: Inode, until: number, stores: DataStores): void {
  const { size } = inode;
  const to = Math.min(until, Math.ceil(size / BLOCK_SIZE) * BLOCK_SIZE);
  if (to <= size) return;
  const block = Math.floor(size / BLOCK_SIZE);
  const last = mapExtents(volume, volume, inode, { from: block, to: block + 1 });
  stores.zero(writtenOf(last), { from: size, to });
}

function nameContent(
  txn: Transaction,
  volume: Volume,
  { before, fill, end }: { before: Inode; fill: HoleFill; end: number },
): void {
  const inode = rereadWritable(txn, volume, before);
  if (fill.stale.length > 0) {
    const extents = mapExtents(txn, volume, inode);
    fill.assertUnchanged(extents);
    fill.claim(txn);
    const filled = convertExtents([...extents, ...fill.laid], fill.span, false);
    replaceExtents(txn, volume, inode, filled);
  }
  inode.size = Math.max(inode.size, end);
  inode.touch();
  inode.store(txn);
}
