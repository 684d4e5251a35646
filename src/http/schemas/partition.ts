import { Type } from 'typebox';
import type { Static } from 'typebox';

import { strict } from './values.js';

const Dax = Type.Object({
  supported: Type.Boolean(),
  errno: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
});

const FilesystemError = Type.Object({ code: Type.String(), detail: Type.String() });

const Filesystem = Type.Object({
  type: Type.String(),
  label: Type.String(),
  uuid: Type.String(),
  mounted: Type.Boolean(),
  read_only: Type.Boolean(),
  free_bytes: Type.Integer(),
  total_bytes: Type.Integer(),
  error: Type.Optional(FilesystemError),
});

/** One entry of `GET /v1/partitions`; `start` and `size` are bytes within the disk. */
export const Partition = Type.Object({
  name: Type.String(),
  number: Type.Integer(),
  label: Type.String(),
  uuid: Type.String(),
  type: Type.String(),
  start: Type.Integer(),
  size: Type.Integer(),
  dax: Dax,
  filesystem: Type.Union([Filesystem, Type.Null()]),
});

/** `GET /v1/partitions/{p}/statfs` */
export const FilesystemSizes = Type.Object({
  block_size: Type.Integer(),
  total_bytes: Type.Integer(),
  free_bytes: Type.Integer(),
  available_bytes: Type.Integer({ description: 'what is free and not kept for root' }),
  total_inodes: Type.Integer(),
  free_inodes: Type.Integer(),
  quarantined_bytes: Type.Integer({ description: 'of blocks that are kept for leases' }),
  quarantine_limit_bytes: Type.Integer({
    description: 'how much may be: beyond it quarantine-full',
  }),
});

/** One entry of `GET /v1/partitions`. */
export type Partition = Static<typeof Partition>;

/** `GET /v1/partitions/{p}/statfs` */
export type FilesystemSizes = Static<typeof FilesystemSizes>;

/** ext4 keeps 16 bytes of label. */
const FsLabel = Type.String({ maxLength: 16, description: 'at most 16 bytes' });

/** `POST /v1/partitions` */
export const AddPartition = strict({
  size: Type.Optional(
    Type.Integer({
      minimum: 4096,
      maximum: Number.MAX_SAFE_INTEGER,
      description: 'bytes; without it the largest free stretch',
    }),
  ),
  label: Type.String({ maxLength: 36, description: 'at most 36 UTF-16 code units' }),
});

/** The query of `DELETE /v1/partitions/{p}` */
export const DeletePartition = strict({
  disconnect: Type.Optional(Type.Boolean({ description: 'cut its NBD clients off first' })),
});

/** `POST /v1/partitions/{p}/format` */
export const FormatPartition = strict({
  label: Type.Optional(FsLabel),
  force: Type.Optional(
    Type.Boolean({ description: 'overwrite a known signature instead of refusing with EEXIST' }),
  ),
});

/** `POST /v1/partitions/{p}/mount` */
export const MountPartition = strict({ read_only: Type.Optional(Type.Boolean()) });

/** A body in which nothing may stand. */
export const Nothing = strict({});
