import { isUtf8 } from 'node:buffer';

import { DaxdError } from '../../lib/errno.js';

/** The kinds of attributes, by the number that stands for the front of their names. */
export const XattrIndex = {
  User: 1,
  PosixAclAccess: 2,
  PosixAclDefault: 3,
  Trusted: 4,
  Security: 6,
} as const;

/** What an attribute is called on the media. */
export interface XattrKey {
  /** See {@link XattrIndex}; others occur and are left alone. */
  readonly index: number;
  /** The rest of the name: any bytes but NUL. */
  readonly name: Buffer;
}

/** Bytes of the longest whole name (linux/limits.h, XATTR_NAME_MAX). */
const NAME_BYTES_MAX = 255;

/** Kinds with names of their own behind the prefix. */
const PREFIXES: ReadonlyMap<number, string> = new Map([
  [XattrIndex.User, 'user.'],
  [XattrIndex.Trusted, 'trusted.'],
  [XattrIndex.Security, 'security.'],
]);

/** Kinds of which an inode has one. */
const WHOLE_NAMES: ReadonlyMap<number, string> = new Map([
  [XattrIndex.PosixAclAccess, 'system.posix_acl_access'],
  [XattrIndex.PosixAclDefault, 'system.posix_acl_default'],
]);

/**
 * The key of a name such as `user.mime_type`.
 *
 * @throws DaxdError ERANGE for an empty name and for one over 255 bytes, EOPNOTSUPP for an
 *   unknown prefix, EINVAL for a prefix alone, and for NUL
 * @kernel xattr_resolve_name (fs/xattr.c)
 */
export function parseXattrName(text: string): XattrKey {
  const bytes = Buffer.byteLength(text);
  if (bytes === 0 || bytes > NAME_BYTES_MAX) {
    throw new DaxdError(
      'ERANGE',
      `an attribute name of ${bytes} bytes: it has 1 to ${NAME_BYTES_MAX}`,
    );
  }
  if (text.includes('\0') || /\p{Surrogate}/u.test(text)) throw badName(text);
  for (const [index, whole] of WHOLE_NAMES) {
    if (text === whole) return { index, name: Buffer.alloc(0) };
  }
  for (const [index, prefix] of PREFIXES) {
    if (text === prefix) throw badName(text);
    if (text.startsWith(prefix)) return { index, name: Buffer.from(text.slice(prefix.length)) };
  }
  const known = [...PREFIXES.values()].join(', ');
  throw new DaxdError('EOPNOTSUPP', `attribute ${JSON.stringify(text)}: names begin with ${known}`);
}

/** The name of a key; undefined for kinds that are not shown, and for what is not UTF-8. */
export function showXattrName({ index, name }: XattrKey): string | undefined {
  if (!isUtf8(name)) return undefined;
  const prefix = PREFIXES.get(index);
  if (prefix !== undefined) return prefix + name.toString();
  return name.length === 0 ? WHOLE_NAMES.get(index) : undefined;
}

/** @throws DaxdError EOPNOTSUPP for a kind that only the kernel writes */
export function assertSettable({ index }: XattrKey): void {
  const whole = WHOLE_NAMES.get(index);
  if (whole === undefined) return;
  throw new DaxdError('EOPNOTSUPP', `${whole} is read, not written: set it with setfacl`);
}

/** Whether two keys are the same. */
export function isSameKey(a: XattrKey, b: XattrKey): boolean {
  return a.index === b.index && a.name.equals(b.name);
}

function badName(text: string): DaxdError {
  return new DaxdError('EINVAL', `${JSON.stringify(text)} is no name for an attribute`);
}
