import { DaxdError } from '../../lib/errno.js';
import type { Inode } from './inode.js';
import { XATTR_MAGIC } from './layout.js';
import type { BlockSource, Transaction } from './transaction.js';
import type { Volume } from './volume.js';
import { decodeXattrs, encodeXattrs, xattrsFit } from './xattr-area.js';
import type { Xattr } from './xattr-area.js';
import { fitBlock, readBlockXattrs, storeBlockXattrs } from './xattr-block.js';
import { isSameKey } from './xattr-name.js';
import type { XattrKey } from './xattr-name.js';

/** Within an inode the entries follow the magic. */
const PLACE = { first: 4, origin: 4 };

/**
 * All attributes of one inode: some in the inode, the others in its block. Good for one
 * synchronous stretch, as the inode is.
 */
export class InodeXattrs {
  readonly #inode: Inode;
  readonly #volume: Volume;
  #inInode: readonly Xattr[];
  #inBlock: readonly Xattr[];

  /** @throws DaxdError EBADMSG, EUCLEAN */
  constructor(source: BlockSource, volume: Volume, inode: Inode) {
    this.#inode = inode;
    this.#volume = volume;
    this.#inInode = readInInode(inode);
    this.#inBlock = readBlockXattrs(source, volume, inode);
  }

  /** What is there, each key once. */
  get all(): readonly Xattr[] {
    return [...this.#inInode, ...without(this.#inBlock, this.#inInode)];
  }

  /** The value of an attribute; undefined where there is none. */
  get(key: XattrKey): Buffer | undefined {
    return this.all.find((xattr) => isSameKey(xattr, key))?.value;
  }

  /**
   * Sets an attribute: in the inode where it has room there, else in the block. The caller
   * stores the inode.
   *
   * @throws DaxdError ENOSPC when neither has room, or there is no block
   * @kernel ext4_xattr_set_handle (fs/ext4/xattr.c)
   */
  set(txn: Transaction, xattr: Xattr): void {
    const area = this.#inode.xattrArea;
    const inInode = replaced(this.#inInode, xattr);
    if (xattrsFit(area.length, PLACE, inInode)) {
      this.#store(txn, inInode, without(this.#inBlock, [xattr]));
      return;
    }
    const inBlock = replaced(this.#inBlock, xattr);
    if (!fitBlock(inBlock)) {
      throw new DaxdError(
        'ENOSPC',
        `inode ${this.#inode.number}: an attribute of ${xattr.value.length} bytes has no room ` +
          'beside the others: all of them share the inode and one block of 4096 bytes',
      );
    }
    this.#store(txn, without(this.#inInode, [xattr]), inBlock);
  }

  /** Removes an attribute, if it is there. The caller stores the inode. */
  remove(txn: Transaction, key: XattrKey): void {
    this.#store(txn, without(this.#inInode, [key]), without(this.#inBlock, [key]));
  }

  /** Writes what changed. */
  #store(txn: Transaction, inInode: readonly Xattr[], inBlock: readonly Xattr[]): void {
    const { xattrArea: area } = this.#inode;
    if (inInode.length > 0) {
      encodeXattrs(area, PLACE, inInode, { isHashed: false });
      area.writeUInt32LE(XATTR_MAGIC, 0);
    } else {
      area.fill(0);
    }
    const isBlockChanged =
      inBlock.length !== this.#inBlock.length || inBlock.some((one, i) => one !== this.#inBlock[i]);
    if (isBlockChanged) storeBlockXattrs(txn, this.#volume, this.#inode, inBlock);
    this.#inInode = inInode;
    this.#inBlock = inBlock;
  }
}

/** Whether there is anything to read: most files have no attributes. */
export function mayHaveXattrs(inode: Inode): boolean {
  return inode.fileAcl !== 0 || hasInInode(inode.xattrArea);
}

function readInInode(inode: Inode): Xattr[] {
  const area = inode.xattrArea;
  return hasInInode(area) ? decodeXattrs(area, PLACE, `inode ${inode.number}`) : [];
}

/** What lies there without the magic means nothing, as in the kernel. */
function hasInInode(area: Buffer): boolean {
  return area.length >= PLACE.first + 4 && area.readUInt32LE(0) === XATTR_MAGIC;
}

/** The list with one attribute changed where it stands, or added behind. */
function replaced(xattrs: readonly Xattr[], xattr: Xattr): readonly Xattr[] {
  const at = xattrs.findIndex((one) => isSameKey(one, xattr));
  return at < 0 ? [...xattrs, xattr] : xattrs.with(at, xattr);
}

function without(xattrs: readonly Xattr[], keys: readonly XattrKey[]): readonly Xattr[] {
  return xattrs.filter((xattr) => !keys.some((key) => isSameKey(key, xattr)));
}
