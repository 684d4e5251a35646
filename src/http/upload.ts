import { DaxdError } from '../lib/errno.js';
import type { FileSystem } from './control.js';

/**
 * Gathers the packets of an upload into chunks of `chunkBytes`, the last one shorter, so that
 * one flush of the media covers many packets.
 */
export async function* gatherChunks(
  source: AsyncIterable<Uint8Array>,
  chunkBytes: number,
): AsyncGenerator<Buffer> {
  let chunk = Buffer.allocUnsafe(chunkBytes);
  let filled = 0;
  for await (const packet of packetsOf(source)) {
    for (let taken = 0; taken < packet.length;) {
      const length = Math.min(packet.length - taken, chunkBytes - filled);
      chunk.set(packet.subarray(taken, taken + length), filled);
      taken += length;
      filled += length;
      if (filled < chunkBytes) continue;
      yield chunk;
      // The reader may keep what it got.
      chunk = Buffer.allocUnsafe(chunkBytes);
      filled = 0;
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}

/** The packets; an upload that is cut is the client's doing. @throws DaxdError `cancelled`. */
async function* packetsOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* source;
  } catch (cause) {
    throw new DaxdError('cancelled', 'the connection ended before the upload did', { cause });
  }
}

/** Where the bytes of an upload go. */
export interface UploadTarget {
  readonly path: string;
  /** Write in place from here; undefined: they become the whole file, all of them or none. */
  readonly offset: number | undefined;
  readonly chunkBytes: number;
  readonly signal: AbortSignal;
}

/**
 * Stores an upload durably.
 *
 * @returns the inode, and whether the file is new.
 * @throws DaxdError what the filesystem says. Without an offset the file is then as it was;
 *   with one, the chunks before the failure are stored.
 */
export async function storeUpload(
  fs: FileSystem,
  source: AsyncIterable<Uint8Array>,
  { path, offset, chunkBytes, signal }: UploadTarget,
): Promise<{ readonly created: boolean; readonly inode: number }> {
  const chunks = gatherChunks(source, chunkBytes);
  if (offset === undefined) return fs.replace(path, chunks, { path, signal });

  const existing = lookupOrUndefined(fs, path);
  const inode = existing ?? (await fs.create(path));
  let at = offset;
  for await (const chunk of chunks) {
    checkEnd(at + chunk.length);
    // The packets took their time: the name may be gone, and the inode another file's.
    if (fs.lookup(path) !== inode) throw replaced(path);
    await fs.write(inode, at, chunk);
    at += chunk.length;
  }
  return { created: existing === undefined, inode };
}

function lookupOrUndefined(fs: FileSystem, path: string): number | undefined {
  try {
    return fs.lookup(path);
  } catch (error) {
    if (error instanceof DaxdError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function replaced(path: string): DaxdError {
  return new DaxdError('EBUSY', `${path} became another file while it was written: send it again`);
}

function checkEnd(end: number): void {
  if (!Number.isSafeInteger(end)) {
    throw new DaxdError('EFBIG', `the upload ends at ${end}: a file ends below 2^53`);
  }
}
