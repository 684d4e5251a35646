import { Type } from 'typebox';
import type { Static } from 'typebox';

import { EventsCursor } from './event.js';
import { LayoutChanged } from './file.js';
import { Problem } from './problem.js';
import { WAIT_MS_MAX, strict } from './values.js';

/** A change that waits, or waited, for pinned pages. */
export const Operation = Type.Object({
  id: Type.String(),
  op: Type.String({ description: 'truncate, punch-hole, replace, unlink, ...' }),
  done: Type.Boolean(),
  state: Type.Union([Type.Literal('waiting'), Type.Literal('ended')], {
    description: 'ended: the wait is over; the call itself says how, or result and error do',
  }),
  partition: Type.String(),
  inode: Type.Integer(),
  path: Type.Optional(Type.String()),
  offset: Type.Integer({ description: 'first byte concerned' }),
  end: Type.Union([Type.Integer(), Type.Null()], {
    description: 'the byte behind the last one concerned; null: to the end of the file',
  }),
  started: Type.String({ description: 'RFC 3339' }),
  waited_ms: Type.Number(),
  blocked_by: Type.Array(Type.String({ description: 'id of a lease' })),
  acknowledged: Type.Array(Type.Object({ lease: Type.String(), remaining_ms: Type.Integer() }), {
    description: 'holders that said how long they take',
  }),
  deadline_ms: Type.Optional(
    Type.Number({
      description:
        'how long it waits at most, from its start; where it revokes, how long each holder has',
    }),
  ),
  outcome: Type.Optional(
    Type.String({
      description:
        'of an ended one: done, why its wait was given up (cancelled, deadline, draining), or failed',
    }),
  ),
  result: Type.Optional(LayoutChanged),
  error: Type.Optional(Problem),
});

/** A change that waits, or waited, for pinned pages. */
export type Operation = Static<typeof Operation>;

/** `GET /v1/operations`: a page, ascending by id */
export const OperationList = Type.Object({
  operations: Type.Array(Operation),
  next_cursor: Type.Optional(Type.String()),
  events_cursor: EventsCursor,
});

/** The operation in a path such as /v1/operations/01J... */
export const OperationParams = Type.Object({ id: Type.String({ maxLength: 64 }) });

/** Query of `GET /v1/operations/{id}`. */
export const OperationQuery = strict({
  wait_ms: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: WAIT_MS_MAX,
      description: 'answer when the operation ends, or after this time',
    }),
  ),
});
