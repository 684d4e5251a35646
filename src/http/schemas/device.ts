import { Type } from 'typebox';
import type { Static } from 'typebox';

const Backing = Type.Object({
  path: Type.String(),
  kind: Type.String({ description: 'file or device-dax' }),
  size: Type.Integer(),
  align: Type.Integer(),
  persistence: Type.String({ description: 'msync, libpmem or none' }),
  sparse: Type.Boolean(),
  read_only: Type.Boolean(),
});

const Namespace = Type.Object({
  mode: Type.String({ description: 'fsdax or raw' }),
  map: Type.String({ description: 'dev, mem or none' }),
  uuid: Type.Union([Type.String(), Type.Null()]),
  data_offset: Type.Integer({ description: 'bytes from the start of the backing to the disk' }),
  npfns: Type.Integer(),
  align: Type.Integer(),
  start_pad: Type.Integer(),
  end_trunc: Type.Integer(),
  info_block_version: Type.Union([Type.String(), Type.Null()]),
});

const Pagemap = Type.Object({
  type: Type.String(),
  pages: Type.Integer(),
  pinned_pages: Type.Integer(),
  managed_users: Type.Integer(),
});

/** One step of the attach, in order. */
const AttachStep = Type.Object({
  step: Type.String(),
  ok: Type.Boolean(),
  errno: Type.Optional(Type.String()),
});

/** `GET /v1/device` */
export const Device = Type.Object({
  backing: Backing,
  namespace: Namespace,
  pagemap: Type.Union([Pagemap, Type.Null()]),
  disk: Type.Object({
    name: Type.String(),
    size: Type.Integer(),
    logical_block_size: Type.Integer(),
  }),
  attach: Type.Array(AttachStep),
});

/** `GET /v1/device` */
export type Device = Static<typeof Device>;
