import { Type } from 'typebox';

import type { RecalledView } from '../../lease/recalls.js';
import { HELD_STATES } from '../../lease/lease-state.js';
import {
  CGROUP_PATH_BYTES_MAX,
  LEASE_RANGES_MAX,
  RECALL_MS_MAX,
  TTL_MS_MAX,
  TTL_MS_MIN,
} from '../../lease/limits.js';
import { EventsCursor } from './event.js';
import {
  Cursor,
  FilePath,
  PageLimit,
  WAIT_MS_MAX,
  count,
  strict,
  textWithoutNul,
} from './values.js';

const Access = Type.Union([Type.Literal('read'), Type.Literal('write')]);

/** `POST /v1/leases` */
export const AcquireLease = strict({
  partition: Type.String({ maxLength: 64 }),
  path: Type.Optional(FilePath),
  offset: count('bytes'),
  length: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'bytes' }),
  access: Access,
  ttl_ms: Type.Integer({
    minimum: TTL_MS_MIN,
    maximum: TTL_MS_MAX,
    description: 'renew within this time',
  }),
  wait_ms: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: WAIT_MS_MAX,
      description: 'how long to wait for changes that are pending there; default: not at all',
    }),
  ),
  client: Type.Optional(textWithoutNul(256, 'who holds it, for people; no NUL')),
  connection: Type.Optional(
    Type.Boolean({
      description: 'end it when this connection ends: over loopback or a Unix socket',
    }),
  ),
  pid: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 })),
  pid_start: Type.Optional(count('field 22 of /proc/PID/stat, as the holder reads it')),
  cgroup: Type.Optional(
    Type.String({
      maxLength: CGROUP_PATH_BYTES_MAX,
      description:
        'ends with its last process; what the line 0:: of /proc/PID/cgroup says; no pid then',
    }),
  ),
});

/** Headers of `POST /v1/leases`. */
export const AcquireHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      description: 'sent again with it, the same request answers with the same lease',
    }),
  ),
});

const Extent = Type.Object({
  file_offset: Type.Integer(),
  device_offset: Type.Integer({ description: 'bytes into the backing' }),
  length: Type.Integer(),
});

const Range = Type.Object({ offset: Type.Integer(), length: Type.Integer() });

const Recall = Type.Object({
  operation: Type.String(),
  op: Type.String(),
  ranges: Type.Array(Range, { description: 'what it waits for' }),
  deadline_ms: Type.Optional(Type.Integer({ description: 'until the operation gives up' })),
});

const LeaseBody = Type.Object({
  id: Type.String(),
  fencing_token: Type.Integer({ description: 'larger than that of any lease before' }),
  state: Type.String({
    description:
      'active, recalling (active, and asked for), suspect, reclaimable (after a restart), quarantined, released or revoked',
  }),
  partition: Type.String(),
  path: Type.Optional(Type.String()),
  offset: Type.Integer(),
  length: Type.Integer(),
  access: Type.String(),
  ttl_ms: Type.Integer(),
  remaining_ttl_ms: Type.Integer(),
  pages: Type.Integer({ description: 'pages pinned now' }),
  ranges: Type.Array(Range, { description: 'what of the range asked for is not released yet' }),
  backing_path: Type.String(),
  extents: Type.Array(Extent),
  recalls: Type.Array(Recall, { description: 'operations that wait for it' }),
  quarantined: Type.Optional(Type.String({ description: 'why it is in quarantine' })),
  ended: Type.Optional(
    Type.String({ description: 'how it ended: asked for, or what proves it is used no more' }),
  ),
  client: Type.Optional(Type.String()),
  pid: Type.Optional(Type.Integer()),
  pid_start: Type.Optional(Type.Integer()),
  cgroup: Type.Optional(Type.String()),
});

/** What answers carry beside a lease, for the document. */
const headers = {
  ETag: {
    type: 'string',
    description: 'for If-Match: another one after each change but those of time and of recalls',
  },
};

/** A lease in a list. */
const ListedLease = Type.Unsafe<RecalledView>(LeaseBody);

/** A lease as every call about it answers. */
export const Lease = Type.Unsafe<RecalledView>({ ...LeaseBody, headers });

/** That what the caller knows of a lease is so still. */
export const NotModified = Type.Null({ description: 'as If-None-Match has it, but for time' });

/** Headers of `GET /v1/leases/{id}`. */
export const IfNoneMatch = Type.Object({
  'if-none-match': Type.Optional(
    Type.String({ description: 'an ETag: 304 where the lease is as it was with it' }),
  ),
});

/** Headers of calls that take a lease from its holder. */
export const IfMatch = Type.Object({
  'if-match': Type.Optional(
    Type.String({ description: 'only where the lease is as it was with this ETag, else 412' }),
  ),
});

/** What the holder of a lease shows that it is that. */
export const SecretHeader = Type.Object({
  'lease-secret': Type.Optional(
    Type.String({ description: 'the secret of the 201; not for callers with scope admin' }),
  ),
});

/** Headers of calls of its holder that change a lease. */
export const HolderHeaders = Type.Object({ ...IfMatch.properties, ...SecretHeader.properties });

/** What `POST /v1/leases` answers: this once with the secret. */
export const GrantedLease = Type.Unsafe<RecalledView & { readonly secret: string }>({
  ...Type.Object({
    ...LeaseBody.properties,
    secret: Type.String({
      description: 'sent as Lease-Secret to renew and release it, by callers without scope admin',
    }),
  }),
  headers,
});

/** `GET /v1/leases` */
export const LeaseList = Type.Object({
  leases: Type.Array(ListedLease),
  next_cursor: Type.Optional(Type.String()),
  events_cursor: EventsCursor,
});

/** Query of `GET /v1/leases`. */
export const LeaseQuery = strict({
  partition: Type.Optional(Type.String({ maxLength: 64 })),
  path: Type.Optional(FilePath),
  state: Type.Optional(Type.Union(HELD_STATES.map((state) => Type.Literal(state)))),
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(PageLimit),
});

/** `POST /v1/leases/{id}/release`: without `ranges` all of it. */
export const ReleaseLease = strict({
  ranges: Type.Optional(
    Type.Array(strict({ offset: count('bytes'), length: count('bytes') }), {
      minItems: 1,
      maxItems: LEASE_RANGES_MAX,
    }),
  ),
});

/** `POST /v1/leases/{id}/acknowledge` */
export const AcknowledgeRecall = strict({
  estimate_ms: Type.Integer({
    minimum: 0,
    maximum: RECALL_MS_MAX,
    description: 'from now on; on_conflict revoke waits for it, up to 10 minutes in all',
  }),
});

/** `POST /v1/leases/{id}/revoke` */
export const RevokeLease = strict({
  reason: Type.String({
    minLength: 1,
    maxLength: 1024,
    description: 'its holder is told, and it is logged',
  }),
});

/** The lease in a path such as /v1/leases/01J... */
export const LeaseParams = Type.Object({ id: Type.String({ maxLength: 64 }) });
