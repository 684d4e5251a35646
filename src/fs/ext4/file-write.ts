import { blocksAround } from './byte-span.js';
import { DataStores } from './data-stores.js';
import { zeroPastEnd } from './file-zero.js';
import { HoleFill } from './hole-fill.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { nameFill } from './name-fill.js';
import { checkRange, readWritable, rereadWritable } from './regular-file.js';
import type { Volume } from './volume.js';
import { whenSpace } from './when-space.js';

/**
 * Writes to a file in place, past its end too: what lies between becomes a hole. Settles when
 * the data and the metadata that names it are durable. Waits for no pinned page.
 *
 * All blocks that it takes, those of the extent tree too, are reserved before a byte is
 * stored: without space for them nothing changes. Data goes before the transaction that names
 * it, so a write that fails leaves the file with its old size and no new block; bytes that
 * the file had already may be new ones. What one transaction cannot name goes in several,
 * from the start on.
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
    await writeHeld(volume, readWritable(volume, volume, number), offset, source);
  });
}

/**
 * Writes at the end of a file, wherever that is when the writes before it are done, and gives
 * the offset. Otherwise as {@link writeFile}. Also to a file that may only be appended to.
 *
 * @throws DaxdError as `writeFile` does
 */
export async function appendFile(
  volume: Volume,
  number: number,
  source: Uint8Array,
): Promise<number> {
  readWritable(volume, volume, number, { append: true });
  return await volume.withInode(number, async () => {
    const before = readWritable(volume, volume, number, { append: true });
    checkRange(before.size, source.length);
    await writeHeld(volume, before, before.size, source);
    return before.size;
  });
}

/** Writes while the file's gate is held. */
async function writeHeld(
  volume: Volume,
  before: Inode,
  offset: number,
  source: Uint8Array,
): Promise<void> {
  for (let done = 0; done < source.length;) {
    const rest = done === 0 ? source : source.subarray(done);
    done += await writePiece(volume, before, offset + done, rest);
  }
}

/** Writes as much as one transaction can name, and gives how many bytes. */
async function writePiece(
  volume: Volume,
  before: Inode,
  offset: number,
  source: Uint8Array,
): Promise<number> {
  const stored = await whenSpace(volume, () => storeContent(volume, before, offset, source));
  const { fill, stores, end } = stored;
  const prepare = async (): Promise<void> => {
    await stores.persist();
  };
  await nameFill(volume, before, fill, { prepare, sizeMin: end });
  return end - offset;
}

/** A write whose data is stored, and not yet the file's where that takes new blocks. */
interface StoredContent {
  readonly fill: HoleFill;
  readonly stores: DataStores;
  /** Where it ends, in bytes of the file. */
  readonly end: number;
}

function storeContent(
  volume: Volume,
  before: Inode,
  offset: number,
  source: Uint8Array,
): StoredContent {
  // Appending is let through: whoever may not do more was refused before.
  const inode = rereadWritable(volume, volume, before, { append: true });
  const wantedEnd = offset + source.length;
  const wanted = blocksAround({ from: offset, to: wantedEnd });
  const fill = HoleFill.reserve(volume, inode, wanted, { written: true });
  const { span, stale } = fill;
  const end = Math.min(wantedEnd, span.to * BLOCK_SIZE);
  const stores = new DataStores(volume);
  try {
    zeroPastEnd(volume, inode, offset, stores);
    stores.zero(stale, { from: span.from * BLOCK_SIZE, to: offset });
    stores.zero(stale, { from: end, to: span.to * BLOCK_SIZE });
    stores.write([...fill.mapped, ...fill.laid], offset, source.subarray(0, end - offset));
  } catch (error) {
    fill.release();
    throw error;
  }
  return { fill, stores, end };
}
