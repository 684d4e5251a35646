/**
 * Errno names that daxd reports, and the few codes beside them that have no errno.
 * One list: `http` maps every member to a status, so a new name without one does not compile.
 */
export const ERROR_CODES = [
  'E2BIG',
  'EACCES',
  'EBADMSG',
  'EBUSY',
  'EEXIST',
  'EFBIG',
  'EINVAL',
  'EIO',
  'EISDIR',
  'ELOOP',
  'EMLINK',
  'ENAMETOOLONG',
  'ENODATA',
  'ENODEV',
  'ENOENT',
  'ENOMEM',
  'ENOSPC',
  'ENOTDIR',
  'ENOTEMPTY',
  'ENXIO',
  'EOPNOTSUPP',
  'EPERM',
  'ERANGE',
  'EROFS',
  'ESHUTDOWN',
  'ESRCH',
  'EUCLEAN',
  'cancelled',
  'deadline',
  'draining',
  'idempotency-in-progress',
  'idempotency-mismatch',
  'interrupted',
  'lease-revoked',
  'pages-pinned',
  'quarantine-full',
  'recall-conflict',
  'stale-generation',
] as const;

/** A member of {@link ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * A failure that the caller can cause or must expect. `code` is the errno that the kernel
 * would have returned; the message names the thing concerned, the value that was wrong,
 * and what to do next.
 */
export class DaxdError extends Error {
  override readonly name: string = 'DaxdError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The name of the error that a system call of Node left, if it is one. */
export function systemCodeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** The code of daxd for an errno name; EIO for those that daxd does not report. */
export function errorCodeFor(name: string): ErrorCode {
  // libuv's name; on Linux both are errno 95.
  if (name === 'ENOTSUP') return 'EOPNOTSUPP';
  return ERROR_CODES.find((code) => code === name) ?? 'EIO';
}
