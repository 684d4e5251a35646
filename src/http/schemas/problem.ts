import { Type } from 'typebox';
import type { Static } from 'typebox';

/** The body of every refusal: RFC 9457, with the errno name as `code`. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'an errno name such as EBUSY, or a code such as draining' }),
    detail: Type.String(),
    instance: Type.Optional(Type.String()),
    holders: Type.Optional(
      Type.Array(Type.String(), { description: 'ids of the leases in the way' }),
    ),
  },
  { description: 'a refusal (RFC 9457)' },
);

/** The body of every refusal. */
export type Problem = Static<typeof Problem>;
