import { Type } from 'typebox';
import type { Static } from 'typebox';

import { FilePath, PageQuery, count, strict } from './values.js';

const FileType = Type.String({
  description: 'file, directory, symlink, char, block, fifo or socket',
});

const Extent = Type.Object({
  file_offset: Type.Integer(),
  device_offset: Type.Integer({ description: 'bytes into the backing' }),
  length: Type.Integer(),
  unwritten: Type.Boolean(),
});

const Timestamp = Type.String({ description: 'RFC 3339 in UTC, with nanoseconds' });

/** `GET /v1/partitions/{p}/stat/{path}` */
export const FileStat = Type.Object({
  inode: Type.Integer(),
  type: FileType,
  mode: Type.Integer({ description: 'st_mode, type bits included' }),
  nlink: Type.Integer(),
  uid: Type.Integer(),
  gid: Type.Integer(),
  size: Type.Integer(),
  blocks: Type.Integer({ description: 'units of 512 bytes' }),
  atime: Timestamp,
  mtime: Timestamp,
  ctime: Timestamp,
  target: Type.Optional(Type.String({ description: 'of a symlink' })),
  device: Type.Optional(
    Type.Object(
      { major: Type.Integer(), minor: Type.Integer() },
      { description: 'of a char or block device' },
    ),
  ),
  extents: Type.Array(Extent),
  pinned_pages: Type.Integer(),
});

/** `GET /v1/partitions/{p}/stat/{path}` */
export type FileStat = Static<typeof FileStat>;

/** The largest number of a user or group. */
const ID_MAX = 2 ** 32 - 2;
const Id = Type.Integer({ minimum: 0, maximum: ID_MAX });
const TimeText = Type.String({
  maxLength: 30,
  description: 'RFC 3339 in UTC (...Z), up to nanoseconds; 1901 to 2446, others become the nearest',
});
const Permissions = Type.Integer({
  minimum: 0,
  maximum: 0o7777,
  description: 'permission, set-id and sticky bits, as a number: 420 is 0644',
});

/** `PATCH /v1/partitions/{p}/stat/{path}`: what is left out stays, ctime becomes now. */
export const ChangeAttributes = Type.Object(
  {
    mode: Type.Optional(Permissions),
    uid: Type.Optional(Id),
    gid: Type.Optional(Id),
    atime: Type.Optional(TimeText),
    mtime: Type.Optional(TimeText),
  },
  { additionalProperties: false, minProperties: 1 },
);

/** Headers of the changes that wait for leases. */
export const ChangeHeaders = Type.Object({
  prefer: Type.Optional(
    Type.String({
      description:
        'respond-async, and wait=SECONDS before that: a 202 in place of a wait (RFC 7240)',
    }),
  ),
});

/** Headers of `GET .../files/{path}`. */
export const ReadHeaders = Type.Object({
  range: Type.Optional(Type.String({ description: 'one range of bytes: 206 with these' })),
  'if-range': Type.Optional(Type.String({ description: 'an ETag: with another all of it comes' })),
  'if-match': Type.Optional(Type.String({ description: 'ETags: 412 where it has none of them' })),
  'if-none-match': Type.Optional(Type.String({ description: 'ETags: 304 where it has one' })),
});

/** Headers of `PUT .../files/{path}`. */
export const WriteHeaders = Type.Object({
  'if-none-match': Type.Optional(
    Type.String({ description: '*: only where nothing is there yet, else 412' }),
  ),
});

/** One name in a directory. */
const DirectoryEntry = Type.Object({
  name: Type.Optional(Type.String()),
  name_base64: Type.Optional(Type.String({ description: 'in place of a name that is not UTF-8' })),
  type: FileType,
  size: Type.Optional(Type.Integer()),
  error: Type.Optional(
    Type.String({
      description: 'in place of a size, where the inode cannot be read: EBADMSG, ...',
    }),
  ),
  inode: Type.Integer(),
});

/** A directory: all of it in its own order, or with `limit` a page sorted by name. */
export const DirectoryListing = Type.Object({
  entries: Type.Array(DirectoryEntry),
  next_cursor: Type.Optional(Type.String()),
});

/** A directory: all of it in its own order, or with `limit` a page sorted by name. */
export type DirectoryListing = Static<typeof DirectoryListing>;

/** Query of `GET .../files/{path}`; both matter to directories alone. */
export const ListingQuery = PageQuery;

/** Query of `PUT .../files/{path}`. */
export const WriteQuery = strict({
  offset: Type.Optional(count('write in place from this byte, without truncating')),
  append: Type.Optional(
    Type.Boolean({ description: 'write at the end, wherever that is when the bytes come' }),
  ),
  exclusive: Type.Optional(
    Type.Boolean({ description: 'only where nothing is there yet, as If-None-Match: *' }),
  ),
});

/** Where an appended upload went. */
export const Appended = Type.Object({
  inode: Type.Integer(),
  offset: Type.Integer({ description: 'where its first byte is' }),
});

/** What `PUT .../files/{path}` answers for a new file. */
export const CreatedFile = Type.Object({
  inode: Type.Integer(),
  offset: Type.Optional(Type.Integer({ description: 'with append' })),
});

/** `POST .../mkdir` */
export const MakeDirectory = strict({ path: FilePath });

/** `POST .../rename` */
export const Rename = strict({
  from: FilePath,
  to: FilePath,
  no_replace: Type.Optional(Type.Boolean({ description: 'EEXIST when something is at `to`' })),
});

/** `POST .../link`: a symlink gets another name itself. */
export const MakeLink = strict({
  from: FilePath,
  to: Type.String({ minLength: 1, description: 'the new name' }),
});

/** `POST .../mknod` */
export const MakeNode = strict({
  path: FilePath,
  type: Type.Union([
    Type.Literal('char'),
    Type.Literal('block'),
    Type.Literal('fifo'),
    Type.Literal('socket'),
  ]),
  mode: Type.Optional(Permissions),
  major: Type.Optional(Type.Integer({ minimum: 0, maximum: 4095 })),
  minor: Type.Optional(Type.Integer({ minimum: 0, maximum: 1048575 })),
});

/** `POST .../symlink` */
export const MakeSymlink = strict({
  path: FilePath,
  target: Type.String({ minLength: 1, maxLength: 4095 }),
});

/** The inode that a call made. */
export const MadeInode = Type.Object({ inode: Type.Integer() });

const DEADLINE_MS_MAX = 24 * 3600 * 1000;

/** What a change does where pages are lent, and how long it waits. */
const patienceProperties = {
  on_conflict: Type.Optional(
    Type.Union(
      [Type.Literal('wait'), Type.Literal('fail'), Type.Literal('defer'), Type.Literal('revoke')],
      {
        description:
          'wait (default); fail at once with 409 pages-pinned and the holders; defer: go on, and put what is pinned into quarantine; or revoke, with scope admin: take the leases from their holders, and put what is pinned still into quarantine',
      },
    ),
  ),
  deadline_ms: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: DEADLINE_MS_MAX,
      description:
        'how long it waits, then 504 deadline with the holders; default: as long as the connection is open. With revoke: how long each holder has from when it could see the recall; default: 45000',
    }),
  ),
};

const rangeProperties = {
  ...patienceProperties,
  path: FilePath,
  offset: count('bytes'),
  length: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'bytes' }),
};

/** `POST .../truncate` */
export const Truncate = strict({ path: FilePath, size: count('bytes'), ...patienceProperties });

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

/** `POST .../collapse-range` and `POST .../insert-range` */
export const ShiftRange = strict({
  ...patienceProperties,
  path: FilePath,
  offset: count('bytes, a multiple of 4096'),
  length: Type.Integer({
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'bytes, a multiple of 4096',
  }),
});

/** Query of `GET .../seek/{path}`. */
export const SeekQuery = strict({
  offset: count('where to look from'),
  what: Type.Union([Type.Literal('data'), Type.Literal('hole')]),
});

/** What `GET .../seek/{path}` found. */
export const Sought = Type.Object({ offset: Type.Integer({ description: 'bytes' }) });

/** What `GET .../seek/{path}` found. */
export type Sought = Static<typeof Sought>;

/** What a change that may wait for pinned pages answers. */
export const LayoutChanged = Type.Object({
  size: Type.Integer({ description: 'bytes of the file now' }),
  waited_ms: Type.Number({ description: 'how long pinned pages were awaited' }),
  freed_bytes: Type.Integer({ description: 'bytes of blocks given back' }),
  quarantined_bytes: Type.Integer({ description: 'bytes of blocks that are kept for leases' }),
  evicted: Type.Optional(
    Type.Array(
      Type.Object({
        lease: Type.String(),
        state: Type.String({ description: 'released, revoked, quarantined, or what it is still' }),
        detail: Type.Optional(Type.String({ description: 'the proof, or why there is none' })),
      }),
      { description: 'with on_conflict revoke: what became of the leases in the way' },
    ),
  ),
});

/** What a change that may wait for pinned pages answers. */
export type LayoutChanged = Static<typeof LayoutChanged>;
