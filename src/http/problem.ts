import { DaxdError } from '../lib/errno.js';
import type { ErrorCode } from '../lib/errno.js';
import type { Problem } from './schemas/problem.js';

/** Media type of every refusal (RFC 9457). */
export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

interface ProblemKind {
  readonly status: number;
  readonly title: string;
}

/** Total by construction: a code without a row does not compile. */
const PROBLEM_KINDS: Readonly<Record<ErrorCode, ProblemKind>> = {
  E2BIG: { status: 413, title: 'Value is too large' },
  EACCES: { status: 403, title: 'Not allowed' },
  EBADMSG: { status: 500, title: 'A checksum on the media is wrong' },
  EBUSY: { status: 409, title: 'Resource is in use' },
  EEXIST: { status: 409, title: 'It exists already' },
  EFBIG: { status: 413, title: 'Too large' },
  EINVAL: { status: 400, title: 'Request is not valid' },
  EIO: { status: 500, title: 'Internal or media error' },
  EISDIR: { status: 409, title: 'It is a directory' },
  ELOOP: { status: 400, title: 'Too many symlinks' },
  EMLINK: { status: 409, title: 'Too many links' },
  ENAMETOOLONG: { status: 400, title: 'Name is too long' },
  ENODATA: { status: 404, title: 'No such attribute' },
  ENODEV: { status: 409, title: 'Nothing is mounted there' },
  ENOENT: { status: 404, title: 'No such resource' },
  ENOMEM: { status: 503, title: 'A limit of the daemon is reached' },
  ENOSPC: { status: 507, title: 'No space left' },
  ENOTDIR: { status: 409, title: 'It is not a directory' },
  ENOTEMPTY: { status: 409, title: 'Directory is not empty' },
  ENXIO: { status: 503, title: 'No such device or address' },
  EOPNOTSUPP: { status: 422, title: 'Not supported here' },
  EPERM: { status: 403, title: 'Not permitted' },
  ERANGE: { status: 400, title: 'Out of range' },
  EROFS: { status: 403, title: 'Read-only' },
  ESHUTDOWN: { status: 503, title: 'The device is shut down' },
  ESRCH: { status: 422, title: 'No such process' },
  EUCLEAN: { status: 500, title: 'A structure on the media is damaged' },
  cancelled: { status: 409, title: 'The operation was cancelled' },
  deadline: { status: 504, title: 'The time to wait is over' },
  draining: { status: 503, title: 'The daemon is draining' },
  'idempotency-in-progress': { status: 409, title: 'The same request is under way' },
  'idempotency-mismatch': { status: 422, title: 'The key is that of another request' },
  interrupted: { status: 500, title: 'What became of it is not known' },
  'lease-revoked': { status: 410, title: 'The lease cannot be gone on with' },
  'pages-pinned': { status: 409, title: 'Pages are pinned' },
  'quarantine-full': { status: 507, title: 'No more may be quarantined' },
  'recall-conflict': { status: 409, title: 'A change of these bytes is waiting' },
  'stale-generation': { status: 412, title: 'It has changed since' },
};

/** What a client is told of a defect of daxd's own. */
export const INTERNAL_ERROR = 'internal error: see the log of daxd';

/** What a client gone before the answer counts as in metrics; nobody reads it. */
export const STATUS_CLIENT_GONE = 499;

/**
 * A refusal that HTTP itself knows better than an errno does: 415 for a media type, 416 for a
 * range. `status` takes the place of the one that belongs to `code`.
 */
export class HttpRefusal extends DaxdError {
  override readonly name = 'HttpRefusal';
  readonly status: number;
  /** Header fields that the answer carries beside the problem. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(options: {
    readonly status: number;
    readonly code: ErrorCode;
    readonly message: string;
    readonly headers?: Readonly<Record<string, string>>;
  }) {
    super(options.code, options.message);
    this.status = options.status;
    this.headers = options.headers ?? {};
  }
}

/** A refusal because of leases: which ones, so that their holders can be asked. */
export class HeldError extends DaxdError {
  override readonly name = 'HeldError';
  /** Ids of the leases in the way, as far as they are named. */
  readonly holders: readonly string[];

  constructor(code: ErrorCode, message: string, holders: readonly string[]) {
    super(code, message);
    this.holders = holders;
  }
}

/**
 * The body of a refusal.
 *
 * @param instance the path that was asked for.
 */
export function problemFor(error: DaxdError, instance: string): Problem {
  const { status, title } = PROBLEM_KINDS[error.code];
  return {
    type: `urn:daxd:problem:${error.code.toLowerCase()}`,
    title,
    status: error instanceof HttpRefusal ? error.status : status,
    code: error.code,
    detail: error.message,
    instance,
    ...(error instanceof HeldError && { holders: [...error.holders] }),
  };
}
