import { Type } from 'typebox';
import type { Static } from 'typebox';

import { strict } from './values.js';

/** Pages that left their file while they were lent. */
const QuarantineEntry = Type.Object({
  id: Type.String({ description: 'the lease, or unknown:PARTITION:OFFSET where none is known' }),
  partition: Type.String(),
  reason: Type.String(),
  lease: Type.Optional(Type.String()),
  path: Type.Optional(Type.String({ description: 'of the file, as the lease was asked for' })),
  client: Type.Optional(Type.String()),
  bytes: Type.Integer({ description: 'that are pinned, or kept' }),
});

/** Pages that left their file while they were lent. */
export type QuarantineEntry = Static<typeof QuarantineEntry>;

/** `GET /v1/quarantine`: a page, ascending by id */
export const QuarantineList = Type.Object({
  quarantine: Type.Array(QuarantineEntry),
  next_cursor: Type.Optional(Type.String()),
});

/** `GET /v1/quarantine`: a page, ascending by id */
export type QuarantineList = Static<typeof QuarantineList>;

/** The entry in a path such as /v1/quarantine/01J.../attest */
export const QuarantineParams = Type.Object({ id: Type.String({ maxLength: 128 }) });

/** `POST /v1/quarantine/{id}/attest` */
export const Attest = strict({
  reason: Type.String({
    minLength: 1,
    maxLength: 1024,
    description: 'how it is known that no device stores there any more; it is logged',
  }),
});

/** What an attest answers. */
export const Attested = Type.Object({ id: Type.String(), reason: Type.String() });
