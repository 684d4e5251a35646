import { DaxdError } from '../../lib/errno.js';
import type { Inode } from './inode.js';
import { FeatureRoCompat, InodeFlag } from './layout.js';
import type { Superblock } from './superblock.js';

/** Links that an inode can count. @kernel EXT4_LINK_MAX (fs/ext4/ext4.h) */
export const LINKS_MAX = 65000;
/** What a directory has that no longer counts its subdirectories. */
const LINKS_UNCOUNTED = 1;

/** A directory as its link count concerns it. */
type LinkedInode = Pick<Inode, 'number' | 'linksCount' | 'flags'>;

/**
 * Counts a new subdirectory, whose ".." names this one. Past 65000 links the count of an
 * indexed directory becomes 1 and stays so.
 *
 * @throws DaxdError EMLINK on a filesystem without the feature dir_nlink, and for a linear
 *   directory
 * @kernel ext4_inc_count (fs/ext4/namei.c)
 */
export function addSubdirectory(sb: Pick<Superblock, 'roCompat'>, parent: LinkedInode): void {
  if (parent.linksCount === LINKS_UNCOUNTED) return;
  if (parent.linksCount < LINKS_MAX) {
    parent.linksCount++;
    return;
  }
  const mayLoseCount =
    (sb.roCompat & FeatureRoCompat.DirNlink) !== 0 && (parent.flags & InodeFlag.Index) !== 0;
  if (!mayLoseCount) {
    throw new DaxdError(
      'EMLINK',
      `directory inode ${parent.number} has ${parent.linksCount} links, it can have no more`,
    );
  }
  parent.linksCount = LINKS_UNCOUNTED;
}

/** Counts a subdirectory off. @kernel ext4_dec_count (fs/ext4/namei.c) */
export function dropSubdirectory(parent: LinkedInode): void {
  if (parent.linksCount > 2) parent.linksCount--;
}
