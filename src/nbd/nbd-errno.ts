import { DaxdError, type ErrorCode } from '../lib/errno.js';
import { NbdError } from './protocol.js';

/** What has a number of its own on the wire; all else is EIO there (section "Error values"). */
const BY_CODE: Partial<Record<ErrorCode, NbdError>> = {
  EPERM: NbdError.EPERM,
  EROFS: NbdError.EPERM,
  EIO: NbdError.EIO,
  ENOMEM: NbdError.ENOMEM,
  EINVAL: NbdError.EINVAL,
  ENOSPC: NbdError.ENOSPC,
  EFBIG: NbdError.ENOSPC,
  EOPNOTSUPP: NbdError.ENOTSUP,
  ESHUTDOWN: NbdError.ESHUTDOWN,
  draining: NbdError.ESHUTDOWN,
};

/** The error of the wire for a failure that a client must expect; anything else is thrown on. */
export function nbdErrorOf(failure: unknown): NbdError {
  if (!(failure instanceof DaxdError)) throw failure;
  return BY_CODE[failure.code] ?? NbdError.EIO;
}
