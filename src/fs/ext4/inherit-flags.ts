import type { Inode } from './inode.js';
import { InodeFlag } from './layout.js';

/**
 * What a directory hands down. Of the kernel's list two are left out: data that goes through the
 * journal, for daxd's never does, and names that fold case, for a filesystem with such
 * directories is not mounted.
 *
 * @kernel EXT4_FL_INHERITED (fs/ext4/ext4.h)
 */
const INHERITED =
  InodeFlag.SecureRemove |
  InodeFlag.Unremove |
  InodeFlag.Compressed |
  InodeFlag.Sync |
  InodeFlag.NoDump |
  InodeFlag.NoAtime |
  InodeFlag.NoCompress |
  InodeFlag.NoTail |
  InodeFlag.DirSync |
  InodeFlag.Dax |
  InodeFlag.ProjectInherit;
const DIRECTORIES_ONLY = InodeFlag.DirSync | InodeFlag.ProjectInherit;
/** What is neither file nor directory takes these alone. */
const OTHERS = InodeFlag.NoDump | InodeFlag.NoAtime;

/**
 * Gives a new inode the flags that its directory says new ones get. All of them only mark a file,
 * or ask for what daxd does anyway. The caller stores the inode.
 *
 * @kernel ext4_mask_flags (fs/ext4/ext4.h)
 */
export function inheritFlags(parent: Inode, inode: Inode): void {
  const flags = parent.flags & INHERITED;
  if (inode.type === 'directory') inode.flags |= flags;
  else if (inode.type === 'file') inode.flags |= flags & ~DIRECTORIES_ONLY;
  else inode.flags |= flags & OTHERS;
}
