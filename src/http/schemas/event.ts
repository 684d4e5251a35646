import { Type } from 'typebox';

import { strict } from './values.js';

/** Where `GET /v1/events` goes on for one who has this answer. */
export const EventsCursor = Type.String({
  description: 'since= of GET /v1/events: what happened after this answer',
});

/** Query of `GET /v1/events`. */
export const EventQuery = strict({
  since: Type.Optional(
    Type.String({
      maxLength: 64,
      description:
        'an events_cursor, or the id of the last event seen; Last-Event-ID stands over it',
    }),
  ),
  lease: Type.Optional(Type.String({ maxLength: 64, description: 'only of this lease' })),
  client: Type.Optional(
    Type.String({ maxLength: 256, description: 'only of leases of this client' }),
  ),
});

/** Headers of `GET /v1/events`. */
export const EventHeaders = Type.Object({
  'last-event-id': Type.Optional(
    Type.String({ description: 'the id of the last event seen: it goes on behind that' }),
  ),
});

/** It is written by the stream itself: this is for the document alone. */
export const EventStream = {
  description: 'server-sent events, until the daemon ends or the client goes',
  content: { 'text/event-stream': { schema: Type.Unsafe<unknown>(Type.String()) } },
};
