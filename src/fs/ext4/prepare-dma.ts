import { DaxdError } from '../../lib/errno.js';
import { roundUp } from '../../lib/units.js';
import { blocksAround } from './byte-span.js';
import { extentsWithin, treeOf } from './extent-tree.js';
import { writtenOf } from './extent.js';
import type { BlockSpan, Extent } from './extent.js';
import { toFileExtent } from './file-read.js';
import type { FileExtent } from './file-read.js';
import { zeroInPieces } from './file-zero.js';
import { HoleFill } from './hole-fill.js';
import type { Inode } from './inode.js';
import { assertInPlace } from './in-place.js';
import { BLOCK_SIZE } from './layout.js';
import { nameFill } from './name-fill.js';
import { checkRange, readRegular, readWritable, rereadWritable } from './regular-file.js';
import type { Volume } from './volume.js';
import { whenSpace } from './when-space.js';

/** The bytes that somebody wants to reach without the filesystem. */
export interface DmaRange {
  readonly offset: number;
  /** 1 or more; the range ends in the page with the last byte of the file at the latest. */
  readonly length: number;
  readonly access: 'read' | 'write';
}

/**
 * Makes a range of a file ready to be read or written past the filesystem, and gives the
 * extents of its pages. For writing, every hole and every unwritten block becomes a written
 * one full of zeros, durably, before this settles: else the DMA would be lost, or an old
 * block's content lent. For reading nothing changes, and both are left out. mtime is set for
 * writing, as by a write fault: what the DMA will change, no one sees.
 *
 * The answer holds until the caller next awaits; pin in the same turn.
 *
 * @throws DaxdError EINVAL for a range not in the file, EOPNOTSUPP for blocks that stand in the log
 *   only, EISDIR, ENOSPC, EROFS, ENOENT, EIO
 * @kernel ext4_iomap_begin with IOMAP_WRITE and IOMAP_FAULT (fs/ext4/inode.c)
 */
export async function prepareDma(
  volume: Volume,
  number: number,
  range: DmaRange,
): Promise<FileExtent[]> {
  const span = blocksInFile(readRegular(volume, volume, number), range);
  if (range.access === 'write') {
    readWritable(volume, volume, number);
    await volume.withInode(number, async () => {
      await fillSpan(volume, number, range);
    });
  }
  const extents = writtenIn(volume, readRegular(volume, volume, number), span);
  assertInPlace(volume, number, extents);
  return extents.map(toFileExtent);
}

async function fillSpan(volume: Volume, number: number, range: DmaRange): Promise<void> {
  const before = readWritable(volume, volume, number);
  // The file may have become shorter while this waited for its turn.
  const span = blocksInFile(before, range);
  for (let from = span.from; from < span.to;) {
    from = await fillPiece(volume, before, { from, to: span.to });
  }
}

/** Fills as much of a span as one transaction can name, and gives where that ends. */
async function fillPiece(volume: Volume, before: Inode, span: BlockSpan): Promise<number> {
  const fill = await whenSpace(volume, () => {
    const inode = rereadWritable(volume, volume, before);
    return HoleFill.reserve(volume, inode, span, { written: true });
  });
  const prepare = async (): Promise<void> => {
    await zeroInPieces(volume, fill.stale, () => {
      // The piece before was waited for: an unwritten block is the file's only while it lives.
      rereadWritable(volume, volume, before);
    });
  };
  await nameFill(volume, before, fill, { prepare, sizeMin: 0 });
  return fill.span.to;
}

function writtenIn(volume: Volume, inode: Inode, span: BlockSpan): Extent[] {
  return writtenOf(extentsWithin(treeOf(volume, volume, inode), span));
}

/** The blocks that a range touches. @throws DaxdError EINVAL when it is not in the file */
function blocksInFile({ number, size }: Inode, { offset, length }: DmaRange): BlockSpan {
  const end = checkRange(offset, length);
  const last = roundUp(size, BLOCK_SIZE);
  if (length === 0 || offset >= size || end > last) {
    throw new DaxdError(
      'EINVAL',
      `inode ${number}: bytes ${offset} to ${end} are not in a file of ${size} bytes (a range may end at ${last} at the latest)`,
    );
  }
  return blocksAround({ from: offset, to: end });
}
