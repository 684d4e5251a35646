import { blocksAround } from './byte-span.js';
import { extentsWithin, mapExtents, treeOf } from './extent-tree.js';
import type { Extent } from './extent.js';
import type { Inode } from './inode.js';
import { BLOCK_SIZE } from './layout.js';
import { checkOffset, readRegular } from './regular-file.js';
import type { Volume } from './volume.js';

/** Bytes of a piece of a stream: large enough that mapping it costs little. */
const STREAM_PIECE_BYTES = 256 * 1024;

/** A stretch of a file on the partition, in bytes. */
export interface FileExtent {
  readonly fileOffset: number;
  /** Within the partition. */
  readonly mediaOffset: number;
  readonly length: number;
  readonly unwritten: boolean;
}

/**
 * Reads a file from `offset` on; holes and unwritten blocks read as zeros. Gives the number
 * of bytes read: fewer than `target` holds at the end of the file, 0 past it. The rest of
 * `target` is left alone.
 *
 * @throws DaxdError EISDIR, EINVAL, ENOENT, EBADMSG, EUCLEAN
 */
export function readFile(
  volume: Volume,
  number: number,
  offset: number,
  target: Uint8Array,
): number {
  checkOffset(offset);
  const inode = readRegular(volume, volume, number);
  const end = Math.min(inode.size, offset + target.length);
  if (end <= offset) return 0;
  readContent(volume, inode, offset, target.subarray(0, end - offset));
  return end - offset;
}

/**
 * The bytes [offset, offset + length) of a file, cut at its end, in pieces that are the
 * reader's own. Each piece is mapped anew: a file that changes meanwhile is seen as it is
 * then, and one that gets shorter ends early.
 *
 * @throws DaxdError as {@link readFile} does
 */
export async function* readFileStream(
  volume: Volume,
  number: number,
  offset: number,
  length: number,
): AsyncGenerator<Buffer, void, undefined> {
  const { generation } = readRegular(volume, volume, number);
  for (let done = 0; done < length;) {
    const piece = Buffer.allocUnsafe(Math.min(STREAM_PIECE_BYTES, length - done));
    if (readRegular(volume, volume, number).generation !== generation) return;
    const count = readFile(volume, number, offset + done, piece);
    if (count === 0) return;
    done += count;
    yield piece.subarray(0, count);
  }
}

/** Fills `target` with the content at `offset`; the caller has checked both against the size. */
function readContent(volume: Volume, inode: Inode, offset: number, target: Uint8Array): void {
  const end = offset + target.length;
  const span = blocksAround({ from: offset, to: end });
  let at = offset;
  for (const extent of mapExtents(treeOf(volume, volume, inode), span)) {
    if (extent.unwritten) continue;
    const start = Math.max(offset, extent.logical * BLOCK_SIZE);
    const stop = Math.min(end, (extent.logical + extent.length) * BLOCK_SIZE);
    target.fill(0, at - offset, start - offset);
    readData(volume, mediaOffset(extent, start), target.subarray(start - offset, stop - offset));
    at = stop;
  }
  target.fill(0, at - offset);
}

/** Reads file data, block by block where some of it stands in the log only, as with data=journal. */
function readData(volume: Volume, from: number, target: Uint8Array): void {
  if (volume.replayed.size === 0) {
    volume.range.read(from, target);
    return;
  }
  for (let done = 0; done < target.length;) {
    const block = Math.floor((from + done) / BLOCK_SIZE);
    const within = (from + done) % BLOCK_SIZE;
    const piece = target.subarray(done, done + BLOCK_SIZE - within);
    if (volume.replayed.has(block))
      piece.set(volume.block(block).subarray(within, within + piece.length));
    else volume.range.read(from + done, piece);
    done += piece.length;
  }
}

/**
 * The extents behind the bytes [from, to) of an inode, in bytes and cut to whole blocks around
 * them, neighbours as the media have them. Unwritten ones past the end of the file included.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 */
export function fileExtents(volume: Volume, inode: Inode, from = 0, to = Infinity): FileExtent[] {
  if (!inode.hasBlocks) return [];
  const span = blocksAround({ from, to });
  return extentsWithin(treeOf(volume, volume, inode), span).map(toFileExtent);
}

/** An extent in bytes. */
export function toFileExtent({ logical, physical, length, unwritten }: Extent): FileExtent {
  return {
    fileOffset: logical * BLOCK_SIZE,
    mediaOffset: physical * BLOCK_SIZE,
    length: length * BLOCK_SIZE,
    unwritten,
  };
}

/** Where a byte of a file lies on the partition; it lies in this extent. */
export function mediaOffset({ logical, physical }: Extent, fileOffset: number): number {
  return physical * BLOCK_SIZE + fileOffset - logical * BLOCK_SIZE;
}
