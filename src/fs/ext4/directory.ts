import { DaxdError } from '../../lib/errno.js';
import { damaged } from '../damage.js';
import {
  ENTRIES_END,
  entryInode,
  findEntry,
  findRoom,
  insertEntry,
  packEntries,
  readEntries,
  removeEntry,
  retargetEntry,
} from './directory-block.js';
import type { DirectoryEntry, EntryPosition } from './directory-block.js';
import { DirectoryBlocks } from './directory-blocks.js';
import { DxHash, nameHash } from './dx-hash.js';
import type { NameHash } from './dx-hash.js';
import { insertIndexed, makeIndexed } from './htree-insert.js';
import { continuesHash, IndexWalk } from './htree-walk.js';
import { hashVersion, indexLevels, IndexTable } from './htree.js';
import type { Inode } from './inode.js';
import { FeatureCompat, InodeFlag, SuperField } from './layout.js';
import type { BlockSource } from './transaction.js';
import type { Volume } from './volume.js';

/** What a name leads to, and where its entry stands. */
export interface FoundEntry {
  readonly inode: number;
  readonly logical: number;
  readonly position: EntryPosition;
}

/** What one read of a listing gives. */
export interface DirectoryPiece {
  readonly entries: readonly DirectoryEntry[];
  /** Where to go on; undefined at the end. */
  readonly next: number | undefined;
}

/**
 * One directory as a source shows it: linear, or with an index by the hash of the names.
 * Only what is needed is read, and nothing is kept: an object of this class is good for one
 * synchronous stretch only. It is changed within the transaction that it was read in.
 */
export class Directory {
  readonly inode: Inode;
  readonly #volume: Volume;
  readonly #blocks: DirectoryBlocks;

  /** @throws DaxdError ENOTDIR; EUCLEAN for a size or an index flag that is wrong */
  constructor(source: BlockSource, volume: Volume, inode: Inode) {
    if (inode.type !== 'directory') {
      throw new DaxdError('ENOTDIR', `inode ${inode.number} is a ${inode.type}, not a directory`);
    }
    this.inode = inode;
    this.#volume = volume;
    this.#blocks = new DirectoryBlocks(source, volume, inode);
    if (this.isIndexed && !hasIndexFeature(volume)) {
      throw new DaxdError(
        'EUCLEAN',
        `directory inode ${inode.number} has an index, the filesystem lacks the feature dir_index`,
      );
    }
  }

  /** Whether it has a hash index. */
  get isIndexed(): boolean {
    return (this.inode.flags & InodeFlag.Index) !== 0;
  }

  /** The inode that ".." names. */
  get parent(): number {
    return this.#parentEntry().inode;
  }

  /** Whether it holds nothing but "." and "..". Reads the whole directory. */
  get isEmpty(): boolean {
    const index = this.#indexBlocks();
    for (const logical of this.#eachBlock()) {
      if (!index.has(logical) && this.#namesIn(logical).length > 0) return false;
    }
    return true;
  }

  /** The entry called `name`, which is neither "." nor "..". */
  lookup(name: Uint8Array): FoundEntry | undefined {
    if (this.isIndexed) return this.#lookupIndexed(name);
    for (const logical of this.#eachBlock()) {
      const found = this.#findIn(logical, name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /**
   * A piece of the names, without "." and "..", from `cursor` on: 0, or what the piece before
   * gave. A cursor is a block of a linear directory, whose names never move, and the hash of
   * a boundary between leaves of an indexed one, which stays one when leaves are split.
   *
   * @param visited physical blocks of the pieces before, to which those of this one are added
   * @throws DaxdError EUCLEAN also for a block that the directory has twice
   */
  entriesFrom(cursor: number, visited: Set<number>): DirectoryPiece {
    if (this.isIndexed) return this.#indexedEntriesFrom(cursor, visited);
    if (cursor >= this.#blocks.count) return { entries: [], next: undefined };
    this.#visit(cursor, visited);
    const next = cursor + 1;
    return {
      entries: this.#namesIn(cursor),
      next: next < this.#blocks.count ? next : undefined,
    };
  }

  /**
   * Adds a name that is not there yet: by its hash in an indexed directory, in the first
   * free room of a linear one. A linear directory of one block that is full becomes indexed,
   * where the filesystem has the feature dir_index; one that has more blocks stays linear.
   * Changes size and flags of the inode, which the caller stores.
   *
   * @throws DaxdError ENOSPC; EUCLEAN, EBADMSG
   * @kernel ext4_add_entry (fs/ext4/namei.c)
   */
  insert(entry: DirectoryEntry): void {
    if (!this.isIndexed && !this.#insertLinear(entry)) return;
    insertIndexed(this.#blocks, this.#indexHash(), entry);
  }

  /** Takes a name out; an index stays as it is, for it may point at blocks without the name. */
  remove({ logical, position }: FoundEntry): void {
    this.#blocks.changeLeaf(logical, (block) => {
      removeEntry(block, position);
    });
  }

  /** Points a name at another inode. */
  retarget(
    { logical, position }: FoundEntry,
    target: { readonly inode: number; readonly entryType: number },
  ): void {
    this.#blocks.changeLeaf(logical, (block) => {
      retargetEntry(block, position.offset, target);
    });
  }

  /** Points ".." at another directory. */
  setParent(parent: number): void {
    const { offset } = this.#parentEntry();
    const change = (block: Buffer): void => {
      block.writeUInt32LE(parent, offset);
    };
    if (this.isIndexed) this.#blocks.changeIndex(0, change);
    else this.#blocks.changeLeaf(0, change);
  }

  #lookupIndexed(name: Uint8Array): FoundEntry | undefined {
    const hash = this.#indexHash()(name);
    const walk = new IndexWalk(this.#blocks, hash);
    do {
      const found = this.#findIn(walk.leaf, name);
      if (found !== undefined) return found;
    } while (continuesHash(walk.next(), hash));
    return undefined;
  }

  #findIn(logical: number, name: Uint8Array): FoundEntry | undefined {
    const block = this.#blocks.leaf(logical);
    const position = findEntry(block, ENTRIES_END, name);
    if (position === undefined) return undefined;
    return { inode: entryInode(block, position.offset), logical, position };
  }

  /** Adds to a linear directory; true where it was made an indexed one instead. */
  #insertLinear(entry: DirectoryEntry): boolean {
    const blocks = this.#blocks;
    for (const logical of this.#eachBlock()) {
      const room = findRoom(blocks.leaf(logical), entry.name.length);
      if (room < 0) continue;
      blocks.changeLeaf(logical, (block) => {
        insertEntry(block, room, entry);
      });
      return false;
    }
    const version = this.#volume.superblock.bytes.readUInt8(SuperField.DefHashVersion);
    if (blocks.count === 1 && hasIndexFeature(this.#volume) && version <= DxHash.Tea) {
      const hashOf = nameHash(this.#volume.superblock, version);
      makeIndexed(blocks, hashOf, { parent: this.parent, hashVersion: version });
      this.inode.flags |= InodeFlag.Index;
      return true;
    }
    blocks.appendLeaf((block) => {
      packEntries(block, [entry]);
    });
    return false;
  }

  /**
   * The names of one leaf, and of those behind it that go on with the same hash: so each
   * piece ends between two hashes, and a name is in the same piece wherever a split moves it.
   */
  #indexedEntriesFrom(hash: number, visited: Set<number>): DirectoryPiece {
    const walk = new IndexWalk(this.#blocks, hash);
    const entries: DirectoryEntry[] = [];
    for (;;) {
      this.#visit(walk.leaf, visited);
      entries.push(...this.#namesIn(walk.leaf));
      const next = walk.next();
      if (next === undefined || next % 2 === 0) return { entries, next };
    }
  }

  /**
   * The logical numbers of all blocks. No two are the same block of the media, so that a scan is
   * bounded by what is there: one block at every place would be looked through a million times.
   */
  *#eachBlock(): Generator<number, void, undefined> {
    const visited = new Set<number>();
    for (let logical = 0; logical < this.#blocks.count; logical++) {
      this.#visit(logical, visited);
      yield logical;
    }
  }

  #visit(logical: number, visited: Set<number>): void {
    const physical = this.#blocks.physical(logical);
    if (visited.has(physical)) {
      throw damaged(`directory inode ${this.inode.number}, block ${logical}: listed twice`);
    }
    visited.add(physical);
  }

  /** Copies of the entries of one block of names, without "." and "..". */
  #namesIn(logical: number): DirectoryEntry[] {
    const entries = readEntries(this.#blocks.leaf(logical), ENTRIES_END);
    return logical === 0 ? entries.slice(2) : entries;
  }

  /** The blocks that hold index and not names; each is verified to be one. */
  #indexBlocks(): ReadonlySet<number> {
    const found = new Set<number>();
    if (!this.isIndexed) return found;
    found.add(0);
    const root = this.#blocks.index(0);
    if (indexLevels(root) === 0) return found;
    const table = new IndexTable(root, 0);
    for (let i = 0; i < table.count; i++) {
      const node = table.child(i);
      // A block of names that damage calls a node must not pass for one without names.
      this.#blocks.index(node);
      found.add(node);
    }
    return found;
  }

  #indexHash(): NameHash {
    return nameHash(this.#volume.superblock, hashVersion(this.#blocks.index(0)));
  }

  #parentEntry(): { readonly inode: number; readonly offset: number } {
    const block = this.isIndexed ? this.#blocks.index(0) : this.#blocks.leaf(0);
    const offset = block.readUInt16LE(4);
    return { inode: block.readUInt32LE(offset), offset };
  }
}

function hasIndexFeature({ superblock }: Volume): boolean {
  return (superblock.compat & FeatureCompat.DirIndex) !== 0;
}
