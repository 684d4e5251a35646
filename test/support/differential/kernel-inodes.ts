import { closeSync, openSync, readSync } from 'node:fs';

const BLOCK = 4096;
const SUPERBLOCK = 1024;
const INCOMPAT_64BIT = 0x80;
const OLD_DESCRIPTOR_BYTES = 32;

/**
 * Inodes of a filesystem that the kernel has mounted, from the page cache of its device, where
 * the kernel keeps them as they are now: FIEMAP does not tell of an attribute block where there
 * are attributes in the inode too. Offsets are those of the kernel's ext4 documentation; no
 * code of daxd is used.
 */
export class KernelInodes {
  readonly #fd: number;
  readonly #inodesPerGroup: number;
  readonly #inodeBytes: number;
  readonly #tables: readonly number[];

  constructor(device: string) {
    this.#fd = openSync(device, 'r');
    const superblock = this.#read(SUPERBLOCK, 1024);
    this.#inodesPerGroup = superblock.readUInt32LE(0x28);
    this.#inodeBytes = superblock.readUInt16LE(0x58);
    const is64Bit = (superblock.readUInt32LE(0x60) & INCOMPAT_64BIT) !== 0;
    const bytes = is64Bit ? superblock.readUInt16LE(0xfe) : OLD_DESCRIPTOR_BYTES;
    const groups = superblock.readUInt32LE(0) / this.#inodesPerGroup;
    const descriptors = this.#read(BLOCK, groups * bytes);
    this.#tables = Array.from({ length: groups }, (_, i) => {
      const high = is64Bit ? descriptors.readUInt32LE(i * bytes + 0x28) : 0;
      return descriptors.readUInt32LE(i * bytes + 8) + high * 2 ** 32;
    });
  }

  /** Block of an inode's attributes, or 0. */
  xattrBlock(inode: number): number {
    const table = this.#tables[Math.floor((inode - 1) / this.#inodesPerGroup)] ?? 0;
    const index = (inode - 1) % this.#inodesPerGroup;
    const bytes = this.#read(table * BLOCK + index * this.#inodeBytes, 128);
    return bytes.readUInt32LE(0x68) + bytes.readUInt16LE(0x76) * 2 ** 32;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    readSync(this.#fd, bytes, 0, length, offset);
    return bytes;
  }
}
