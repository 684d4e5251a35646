/** Images that no filesystem would write: what they hold is sealed, so that only its sense is wrong. */
import { sealNode } from '../../../../src/fs/ext4/extent-node.js';
import { locateInode } from '../../../../src/fs/ext4/inode-place.js';
import { Inode } from '../../../../src/fs/ext4/inode.js';
import { BLOCK_SIZE, InodeField } from '../../../../src/fs/ext4/layout.js';
import type { OpenImage } from './volume-set-up.js';

/** Stores an inode, of another generation where one is given, after `patch` changed it. */
export async function forgeInode(
  { volume }: OpenImage,
  number: number,
  patch: (inode: Inode) => void,
  generation?: number,
): Promise<void> {
  const { blockNumber, offset } = locateInode(volume, number);
  await volume.transact((txn) => {
    const bytes = txn.block(blockNumber).subarray(offset, offset + volume.superblock.inodeSize);
    const copy = Buffer.from(bytes);
    if (generation !== undefined) copy.writeUInt32LE(generation, InodeField.Generation);
    const inode = new Inode(volume, number, copy);
    patch(inode);
    inode.store(txn);
  });
}

/** Stores a block behind the back of the filesystem. */
export function forgeBlock(
  { volume }: OpenImage,
  block: number,
  fill: (bytes: Buffer) => void,
): void {
  const bytes = Buffer.alloc(BLOCK_SIZE);
  fill(bytes);
  volume.range.write(block * BLOCK_SIZE, bytes);
  volume.cache.drop(block);
}

/** Stores a block of an extent tree, sealed with a seed. */
export function forgeNode(
  open: OpenImage,
  block: number,
  seed: number,
  encode: (node: Buffer) => void,
): void {
  forgeBlock(open, block, (node) => {
    encode(node);
    sealNode(node, seed);
  });
}
