import { DaxdError } from '../lib/errno.js';

const NUL = '\0';
/** Bytes of a path: with the NUL behind it, what Linux takes in one (PATH_MAX, linux/limits.h). */
const PATH_BYTES_MAX = 4095;

/**
 * The path behind `/files` or `/stat` of a request target, percent-decoded part by part: the
 * router decodes before it splits, which would let %2F pass for a slash.
 *
 * @param target the request target as sent, with or without a query.
 * @returns the path from the partition's root, `''` for the root itself.
 * @throws DaxdError EINVAL for `.`, `..`, an empty part, %2F, `#`, NUL and what is not UTF-8.
 */
export function pathFromTarget(target: string): string {
  const [path = ''] = target.split('?', 1);
  // For the router the path ends there, and what follows is the query.
  if (path.includes('#')) {
    throw new DaxdError('EINVAL', `path ${JSON.stringify(path)} has a "#": send it as %23`);
  }
  // /v1/partitions/{p}/files/{path}: an empty text, v1, partitions, {p} and files stand first.
  const parts = path.split('/').slice(5);
  if (parts.length === 0 || (parts.length === 1 && parts[0] === '')) return '';
  return parts.map((part) => checkedPart(decodePart(part), path)).join('/');
}

/**
 * A path from a JSON body or a query, without the leading slash that it may have.
 *
 * @returns the path from the partition's root, `''` for the root itself.
 * @throws DaxdError ENAMETOOLONG for more than 4095 bytes; EINVAL for `.`, `..`, an empty part, NUL
 *   and half a surrogate pair.
 */
export function pathFromText(text: string): string {
  const bytes = Buffer.byteLength(text);
  if (bytes > PATH_BYTES_MAX) {
    throw new DaxdError(
      'ENAMETOOLONG',
      `the path has ${bytes} bytes: give one of at most ${PATH_BYTES_MAX}`,
    );
  }
  if (!text.isWellFormed()) {
    throw new DaxdError('EINVAL', `path ${JSON.stringify(text)} has half a surrogate pair`);
  }
  const path = text.startsWith('/') ? text.slice(1) : text;
  if (path === '') return '';
  for (const part of path.split('/')) checkedPart(part, text);
  return path;
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (cause) {
    throw new DaxdError('EINVAL', `path part "${part}" is not percent-encoded UTF-8`, { cause });
  }
}

function checkedPart(part: string, path: string): string {
  if (part === '' || part === '.' || part === '..' || part.includes('/') || part.includes(NUL)) {
    throw new DaxdError(
      'EINVAL',
      `path ${JSON.stringify(path)} has the part ${JSON.stringify(part)}: ` +
        'a part is not empty, "." or "..", and holds no NUL and no slash',
    );
  }
  return part;
}
