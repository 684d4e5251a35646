import { Type } from 'typebox';
import type { Static } from 'typebox';

import { Cursor, FilePath, PageLimit, count, strict } from './values.js';

const FileType = Type.String({
  description: 'file, directory, symlink, char, block, fifo or socket',
});

const Extent = Type.Object({
  file_offset: Type.Integer(),
  device_offset: Type.Integer({ description: 'bytes into the backing' }),
  length: Type.Integer(),
  unwritten: Type.Boolean(),
});

/** `GET /v1/partitions/{p}/stat/{path}` */
export const FileStat = Type.Object({
  inode: Type.Integer(),
  type: FileType,
  mode: Type.Integer({ description: 'st_mode, type bits included' }),
  nlink: Type.Integer(),
  size: Type.Integer(),
  blocks: Type.Integer({ description: 'units of 512 bytes' }),
  mtime: Type.String({ description: 'RFC 3339, with nanoseconds' }),
  target: Type.Optional(Type.String({ description: 'of a symlink' })),
  extents: Type.Array(Extent),
  pinned_pages: Type.Integer(),
});

/** `GET /v1/partitions/{p}/stat/{path}` */
export type FileStat = Static<typeof FileStat>;

/** One name in a directory. */
const DirectoryEntry = Type.Object({
  name: Type.Optional(Type.String()),
  name_base64: Type.Optional(Type.String({ description: 'in place of a name that is not UTF-8' })),
  type: FileType,
  size: Type.Integer(),
  inode: Type.Integer(),
});

/** A directory: all of it in its own order, or with `limit` a page sorted by name. */
export const DirectoryListing = Type.Object({
  entries: Type.Array(DirectoryEntry),
  next_cursor: Type.Optional(Type.String()),
});

/** Query of `GET .../files/{path}`; both matter to directories alone. */
export const ListingQuery = strict({
  limit: Type.Optional(PageLimit),
  cursor: Type.Optional(Cursor),
});

/** Query of `PUT .../files/{path}`. */
export const WriteQuery = strict({
  offset: Type.Optional(count('write in place from this byte, without truncating')),
});

/** `POST .../mkdir` */
export const MakeDirectory = strict({ path: FilePath });

/** `POST .../rename` */
export const Rename = strict({ from: FilePath, to: FilePath });

/** `POST .../symlink` */
export const MakeSymlink = strict({
  path: FilePath,
  target: Type.String({ minLength: 1, maxLength: 4095 }),
});

/** The inode that a call made. */
export const MadeInode = Type.Object({ inode: Type.Integer() });

const rangeProperties = {
  path: FilePath,
  offset: count('bytes'),
  length: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'bytes' }),
};

/** `POST .../truncate` */
export const Truncate = strict({ path: FilePath, size: count('bytes') });

/** `POST .../punch-hole`: the size never changes, so `keep_size` may only be true. */
export const PunchHole = strict({
  ...rangeProperties,
  keep_size: Type.Optional(Type.Literal(true)),
});

/** `POST .../zero-range` and `POST .../fallocate` */
export const ChangeRange = strict({
  ...rangeProperties,
  keep_size: Type.Optional(Type.Boolean({ description: 'do not grow the file' })),
});

/** What a change that may wait for pinned pages answers. */
export const LayoutChanged = Type.Object({
  size: Type.Integer({ description: 'bytes of the file now' }),
  waited_ms: Type.Number({ description: 'how long pinned pages were awaited' }),
  freed_bytes: Type.Integer({ description: 'bytes of blocks given back' }),
});
