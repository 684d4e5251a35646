import type { IncomingHttpHeaders } from 'node:http';

import { DaxdError } from '../lib/errno.js';
import type { FileSystem } from './control.js';
import { HttpRefusal } from './problem.js';

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

/** Where an upload goes: it becomes the whole file, or is written from a byte on, or at the end. */
export type UploadPlace = 'whole' | 'end' | number;

/** Whether only a new file is made, and how that was asked for. */
export type OnlyNew = 'no' | 'exclusive' | 'if-none-match';

/** Where the bytes of an upload go. */
export interface UploadTarget {
  readonly path: string;
  readonly place: UploadPlace;
  readonly onlyNew: OnlyNew;
  readonly chunkBytes: number;
  readonly signal: AbortSignal;
}

/** What became of an upload. */
export interface StoredUpload {
  /** Whether the file is new. */
  readonly created: boolean;
  readonly inode: number;
  /** Where the first byte of an appended upload is. */
  readonly offset?: number | undefined;
}

/** The place that a query asks for. @throws DaxdError EINVAL for two of them */
export function uploadPlace(query: {
  readonly offset?: number;
  readonly append?: boolean;
}): UploadPlace {
  if (query.append !== true) return query.offset ?? 'whole';
  if (query.offset === undefined) return 'end';
  throw new DaxdError('EINVAL', `append and offset=${query.offset}: give one of them`);
}

/** How a request asks for a new file. @throws DaxdError EINVAL for other preconditions */
export function onlyNewOf(
  query: { readonly exclusive?: boolean },
  ifNoneMatch: string | undefined,
): OnlyNew {
  if (ifNoneMatch === undefined) return query.exclusive === true ? 'exclusive' : 'no';
  if (ifNoneMatch.trim() === '*') return 'if-none-match';
  throw new DaxdError('EINVAL', `if-none-match: ${ifNoneMatch}: a write takes only *`);
}

/** Headers that change what a write means, and what to do in their place (RFC 9110, 14.5, 8.4, 13.1). */
const NOT_HONOURED = {
  'content-range': 'write a part of a file with ?offset=',
  'content-encoding': 'send the bytes that the file is to have',
  'if-match': 'a write takes no precondition but If-None-Match: *',
  'if-unmodified-since': 'a write takes no precondition but If-None-Match: *',
} as const;

/** Refuses a write under terms that daxd does not keep. @throws DaxdError EINVAL naming the header */
export function refuseTermsNotKept(headers: IncomingHttpHeaders): void {
  for (const [name, advice] of Object.entries(NOT_HONOURED)) {
    const value = headers[name];
    if (value === undefined || (name === 'content-encoding' && value === 'identity')) continue;
    throw new DaxdError('EINVAL', `${name} is not kept to: nothing is changed: ${advice}`);
  }
  const coding = headers['transfer-encoding']?.toLowerCase() ?? 'chunked';
  if (coding === 'chunked') return;
  throw new DaxdError('EINVAL', `transfer-encoding ${coding} is not undone: send chunked alone`);
}

/**
 * Stores an upload durably.
 *
 * @throws DaxdError what the filesystem says; HttpRefusal 412 for a failed precondition. As a
 *   whole file it is then as it was; else the chunks before the failure are stored.
 */
export async function storeUpload(
  fs: FileSystem,
  source: AsyncIterable<Uint8Array>,
  target: UploadTarget,
): Promise<StoredUpload> {
  try {
    return await store(fs, source, target);
  } catch (cause) {
    const isPrecondition = target.onlyNew === 'if-none-match';
    if (!isPrecondition || !(cause instanceof DaxdError) || cause.code !== 'EEXIST') throw cause;
    throw new HttpRefusal({ status: 412, code: 'EEXIST', message: cause.message });
  }
}

async function store(
  fs: FileSystem,
  source: AsyncIterable<Uint8Array>,
  { path, place, onlyNew, chunkBytes, signal }: UploadTarget,
): Promise<StoredUpload> {
  const chunks = gatherChunks(source, chunkBytes);
  const exclusive = onlyNew !== 'no';
  if (place === 'whole') return await fs.replace(path, chunks, { path, signal, exclusive });

  const existing = exclusive ? undefined : lookupOrUndefined(fs, path);
  const inode = existing ?? (await fs.create(path));
  const offset = await storeChunks(fs, chunks, { path, inode, place });
  const stored = { created: existing === undefined, inode };
  return place === 'end' ? { ...stored, offset } : stored;
}

/** Writes chunks into a file, and gives where the first one went. */
async function storeChunks(
  fs: FileSystem,
  chunks: AsyncIterable<Buffer>,
  { path, inode, place }: { path: string; inode: number; place: number | 'end' },
): Promise<number> {
  let first: number | undefined;
  let at = place;
  for await (const chunk of chunks) {
    // The packets took their time: the name may be gone, and the inode another file's.
    if (fs.lookup(path) !== inode) throw replaced(path);
    if (at === 'end') {
      const went = await fs.append(inode, chunk);
      first ??= went;
    } else {
      checkEnd(at + chunk.length);
      await fs.write(inode, at, chunk);
      at += chunk.length;
    }
  }
  if (place !== 'end') return place;
  return first ?? fs.stat(inode).size;
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
