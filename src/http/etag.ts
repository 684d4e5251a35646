/** What an entity tag is made of. */
export interface TaggedFile {
  readonly inode: number;
  readonly generation: number;
  readonly size: number;
  readonly ctimeNs: bigint;
}

/**
 * An entity tag: every change that daxd makes itself moves the inode's ctime, which nobody can
 * set, as the mtime can be, also within one tick of the clock; and an inode that is used again has
 * another generation.
 * What a device stores under a write lease moves neither, so a file has no tag while it is pinned.
 */
export function etagOf({ inode, generation, size, ctimeNs }: TaggedFile): string {
  const parts = [inode, generation, size, ctimeNs].map((part) => part.toString(16));
  return `"${parts.join('-')}"`;
}

/**
 * Whether an If-Match header lets pass what is tagged with `etag`, if with any. Tags are compared
 * strongly (RFC 9110, section 13.1.1): a weak one is nobody's.
 */
export function passesIfMatch(header: string | undefined, etag: string | undefined): boolean {
  if (header === undefined || header.trim() === '*') return true;
  return header.split(',').some((tag) => tag.trim() === etag);
}

/** Whether `etag` is one of those in an If-None-Match header (RFC 9110, section 13.1.2). */
export function matchesEtag(header: string | undefined, etag: string | undefined): boolean {
  if (header === undefined || etag === undefined) return false;
  if (header.trim() === '*') return true;
  return header.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}
