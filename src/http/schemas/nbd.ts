import { Type } from 'typebox';
import type { Static } from 'typebox';

/** `GET /v1/nbd` */
export const NbdExports = Type.Object({
  listen: Type.Array(Type.String(), { description: 'URIs; empty where NBD is off' }),
  exports: Type.Array(
    Type.Object({
      name: Type.String(),
      description: Type.String(),
      size: Type.Integer({ description: 'bytes' }),
      read_only: Type.Boolean(),
      clients: Type.Integer({ description: 'connections that have it open' }),
    }),
  ),
});
/** `GET /v1/nbd` */
export type NbdExports = Static<typeof NbdExports>;
