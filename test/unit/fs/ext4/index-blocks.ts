import {
  checkDirectoryBlock,
  initDirectoryBlock,
  readEntries,
  sealDirectoryBlock,
  ENTRIES_END,
} from '../../../../src/fs/ext4/directory-block.js';
import type {
  DirectoryBlockPlace,
  DirectoryEntry,
} from '../../../../src/fs/ext4/directory-block.js';
import type { NameHash } from '../../../../src/fs/ext4/dx-hash.js';
import type { ChangingIndexBlocks } from '../../../../src/fs/ext4/htree-insert.js';
import { continuesHash, IndexWalk } from '../../../../src/fs/ext4/htree-walk.js';
import {
  checkIndexBlock,
  indexLevels,
  IndexTable,
  sealIndexBlock,
} from '../../../../src/fs/ext4/htree.js';

export const SEED = 0x89abcdef;
export const DIRECTORY = 12;

/** Which block of directory 12 a message is about. */
export function place(logical: number): DirectoryBlockPlace {
  return { directory: DIRECTORY, logical, firstInode: 11, inodesCount: 1_000_000 };
}

/** The blocks of one directory in memory, verified on each read. */
export class MemoryIndexBlocks implements ChangingIndexBlocks {
  readonly directory = DIRECTORY;
  readonly blocks: Buffer[] = [];
  /** Blocks that were read, since somebody last emptied it. */
  readonly read = new Set<number>();

  constructor() {
    const block = Buffer.alloc(4096);
    initDirectoryBlock(block, DIRECTORY, 2);
    sealDirectoryBlock(block, SEED);
    this.blocks.push(block);
  }

  get count(): number {
    return this.blocks.length;
  }

  index(logical: number): Buffer {
    const block = this.#block(logical);
    checkIndexBlock(block, { seed: SEED, count: this.count, place: place(logical) });
    return block;
  }

  leaf(logical: number): Buffer {
    const block = this.#block(logical);
    checkDirectoryBlock(block, SEED, place(logical));
    return block;
  }

  changeIndex(logical: number, change: (block: Buffer) => void): void {
    const block = this.#block(logical);
    change(block);
    sealIndexBlock(block, SEED, logical);
  }

  changeLeaf(logical: number, change: (block: Buffer) => void): void {
    const block = this.#block(logical);
    change(block);
    sealDirectoryBlock(block, SEED);
  }

  appendIndex(fill: (block: Buffer, logical: number) => void): number {
    const logical = this.#append();
    fill(this.#block(logical), logical);
    sealIndexBlock(this.#block(logical), SEED, logical);
    return logical;
  }

  appendLeaf(fill: (block: Buffer) => void): number {
    const logical = this.#append();
    fill(this.#block(logical));
    sealDirectoryBlock(this.#block(logical), SEED);
    return logical;
  }

  #append(): number {
    this.blocks.push(Buffer.alloc(4096));
    return this.blocks.length - 1;
  }

  #block(logical: number): Buffer {
    this.read.add(logical);
    return this.blocks[logical] ?? Buffer.alloc(4096);
  }
}

/** An entry with a name. */
export function entry(name: string | Buffer, inode = 20): DirectoryEntry {
  return { inode, entryType: 1, name: Buffer.from(name) };
}

/** Where a lookup finds a name: its block. */
export function find(blocks: MemoryIndexBlocks, hashOf: NameHash, name: Buffer): number {
  const hash = hashOf(name);
  const walk = new IndexWalk(blocks, hash);
  do {
    const names = readEntries(blocks.leaf(walk.leaf), ENTRIES_END);
    if (names.some((found) => found.name.equals(name))) return walk.leaf;
  } while (continuesHash(walk.next(), hash));
  return -1;
}

/** Every name by the index; what is wrong with the index is thrown. */
export function audit(blocks: MemoryIndexBlocks, hashOf: NameHash): string[] {
  const names: string[] = [];
  const walk = new IndexWalk(blocks, 0);
  const leaves = new Set<number>();
  for (let from: number | undefined = 0; from !== undefined;) {
    const { leaf } = walk;
    if (leaves.has(leaf)) throw new Error(`leaf ${leaf} is named twice`);
    leaves.add(leaf);
    const hashed = readEntries(blocks.leaf(leaf), ENTRIES_END).map(({ name }) => ({
      text: name.toString('latin1'),
      hash: hashOf(name),
    }));
    const low = (from & ~1) >>> 0;
    from = walk.next();
    for (const { text, hash } of hashed) {
      // Past the boundary itself only where the next leaf says that it goes on with it.
      const isBelow = from === undefined || hash < from;
      if (hash < low || !isBelow) throw new Error(`leaf ${leaf}: ${text} has hash ${hash}`);
      names.push(text);
    }
  }
  const root = blocks.index(0);
  const nodes = indexLevels(root) === 0 ? 0 : new IndexTable(root, 0).count;
  if (leaves.size + nodes + 1 !== blocks.count) throw new Error('a block is not in the index');
  return names;
}
