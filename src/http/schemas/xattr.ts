import { Type } from 'typebox';
import type { Static } from 'typebox';

import { strict } from './values.js';

const Name = Type.String({
  maxLength: 255,
  description: 'user., trusted. or security., and the rest of the name',
});

const Base64 = Type.String({ description: 'the bytes in base64, with padding' });

const follow = Type.Optional(
  Type.Boolean({ description: 'false: a symlink itself, not what it points to' }),
);

/** Query of `GET .../xattrs/{path}`. */
export const ReadXattrsQuery = strict({ name: Type.Optional(Name), follow });

/** Query of `PUT` and `DELETE .../xattrs/{path}`. */
export const XattrQuery = strict({ name: Name, follow });

/** `GET .../xattrs/{path}`: all of them, or the one that is named. */
export const XattrList = Type.Object({
  xattrs: Type.Array(Type.Object({ name: Type.String(), value_base64: Base64 })),
});

/** `GET .../xattrs/{path}`: all of them, or the one that is named. */
export type XattrList = Static<typeof XattrList>;

/** `PUT .../xattrs/{path}` */
export const SetXattr = strict({
  value_base64: Base64,
  only: Type.Optional(
    Type.Union([Type.Literal('create'), Type.Literal('replace')], {
      description: 'create: EEXIST where it is there; replace: ENODATA where it is not',
    }),
  ),
});
