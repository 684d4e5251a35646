import { isPowerOf } from '../../lib/units.js';

/**
 * Whether a group of a filesystem with the sparse_super feature begins with a copy of
 * superblock and descriptors: 0, 1 and the powers of 3, 5 and 7.
 *
 * @kernel ext4_bg_has_super (fs/ext4/balloc.c)
 */
export function isSparseSuperGroup(group: number): boolean {
  return group <= 1 || isPowerOf(group, 3) || isPowerOf(group, 5) || isPowerOf(group, 7);
}
