/** What an entity tag is made of. */
export interface TaggedFile {
  readonly inode: number;
  readonly size: number;
  readonly mtimeNs: bigint;
}

/**
 * An entity tag: every change that daxd makes itself moves the time of the inode or its size.
 * What a device stores under a write lease moves neither, so a file has no tag while it is pinned.
 */
export function etagOf({ inode, size, mtimeNs }: TaggedFile): string {
  return `"${inode.toString(16)}-${size.toString(16)}-${mtimeNs.toString(16)}"`;
}
