import { Readable } from 'node:stream';
import { isUtf8 } from 'node:buffer';

import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';
import type { FileSystem } from './control.js';
import { unknownCursor } from './page.js';

/** Entries that one piece of a streamed listing holds. */
const ENTRIES_A_PIECE = 256;

/** What is wrong with one inode, and with no other. */
const UNREADABLE: ReadonlySet<ErrorCode> = new Set(['EBADMSG', 'EUCLEAN', 'EOPNOTSUPP']);

/** A name in a directory as the filesystem gives it. */
interface NamedInode {
  readonly name: Buffer;
  readonly type: string;
  readonly inode: number;
}

/** Which part of a directory is asked for. */
export interface PageRequest {
  readonly limit?: number;
  readonly cursor?: string;
}

/**
 * A directory as JSON, in pieces. Without a limit it comes in its own order; pages are sorted
 * by the bytes of the names, so that a page goes on rightly after names came and went. The
 * names are read in one step, before the first piece: changes meanwhile cannot break the walk.
 */
export function streamListing(fs: FileSystem, directory: number, page: PageRequest): Readable {
  const { entries, next } = pickEntries([...fs.readdir(directory)].filter(isListed), page);
  return Readable.from(listingPieces(fs, entries, next), { objectMode: false });
}

function isListed({ name }: NamedInode): boolean {
  const text = name.toString('latin1');
  return text !== '.' && text !== '..';
}

function pickEntries(
  all: readonly NamedInode[],
  { limit, cursor }: PageRequest,
): { readonly entries: readonly NamedInode[]; readonly next: string | undefined } {
  if (limit === undefined && cursor === undefined) return { entries: all, next: undefined };
  const after = cursor === undefined ? undefined : decodeCursor(cursor);
  const rest = all
    .filter(({ name }) => after === undefined || name.compare(after) > 0)
    .toSorted((a, b) => a.name.compare(b.name));
  const entries = rest.slice(0, limit);
  const last = entries.length < rest.length ? entries.at(-1) : undefined;
  return { entries, next: last?.name.toString('base64url') };
}

function decodeCursor(cursor: string): Buffer {
  const name = Buffer.from(cursor, 'base64url');
  if (name.length === 0 || name.toString('base64url') !== cursor) {
    throw unknownCursor(cursor);
  }
  return name;
}

function* listingPieces(
  fs: FileSystem,
  entries: readonly NamedInode[],
  next: string | undefined,
): Generator<string> {
  let separator = '{"entries":[';
  for (let start = 0; start < entries.length; start += ENTRIES_A_PIECE) {
    const shown = entries.slice(start, start + ENTRIES_A_PIECE).flatMap((entry) => show(fs, entry));
    if (shown.length === 0) continue;
    yield separator + shown.join(',');
    separator = ',';
  }
  const tail = next === undefined ? '' : `,"next_cursor":${JSON.stringify(next)}`;
  yield `${separator === ',' ? '' : separator}]${tail}}`;
}

/** One entry as JSON; none where it was removed since the names were read. */
function show(fs: FileSystem, { name, type, inode }: NamedInode): string[] {
  const known = knownOf(fs, inode);
  if (known === undefined) return [];
  const named = isUtf8(name)
    ? { name: name.toString('utf8') }
    : { name_base64: name.toString('base64') };
  return [JSON.stringify({ ...named, type, ...known, inode })];
}

/** Of an inode that cannot be read its neighbours are listed all the same. */
function knownOf(fs: FileSystem, inode: number): { size: number } | { error: string } | undefined {
  try {
    return { size: fs.stat(inode).size };
  } catch (error) {
    if (!(error instanceof DaxdError)) throw error;
    if (error.code === 'ENOENT') return undefined;
    if (UNREADABLE.has(error.code)) return { error: error.code };
    throw error;
  }
}
