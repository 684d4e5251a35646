/** What a verified metadata block was taken for: the same bytes may not serve as something else. */
export const BlockKind = {
  BlockBitmap: 1,
  InodeBitmap: 2,
  ExtentNode: 3,
  /** The first block of a directory is built otherwise than the rest, with an index and without. */
  FirstLeaf: 4,
  DirectoryLeaf: 5,
  IndexRoot: 6,
  IndexNode: 7,
  XattrBlock: 8,
  OrphanBlock: 9,
} as const;

/** One of {@link BlockKind}. */
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

/**
 * Names the role of a block: its kind, and the number of the inode or group that it belongs to.
 * A seed would not do for the number: generations are free to choose, so two inodes may have the
 * same.
 */
export function blockRole(kind: BlockKind, owner: number): number {
  return kind * 2 ** 32 + owner;
}

/** Blocks kept that are not waiting for a commit, at most twice as many: 16 to 32 MiB. */
const GENERATION_BLOCKS_MAX = 4096;
const NO_ROLE = 0;

/** One metadata block in memory. */
export class CachedBlock {
  readonly bytes: Buffer;
  /** What it was verified as; 0 when it was not. */
  role: number;
  /** Of a block of several records, such as inodes: a bit for each one verified. */
  verifiedParts = 0;

  constructor(bytes: Buffer, role: number = NO_ROLE) {
    this.bytes = bytes;
    this.role = role;
  }
}

/**
 * Metadata blocks in memory, as they are with every change that was made: what was verified
 * once is not verified again, and no other process can change the bytes under a reader. A
 * changed block stays until it is in its place on the media; of the others the ones not
 * used for long go.
 */
export class BufferCache {
  readonly #load: (blockNumber: number) => Buffer;
  readonly #dirty = new Map<number, CachedBlock>();
  #young = new Map<number, CachedBlock>();
  #old = new Map<number, CachedBlock>();

  /** @param load gives the bytes of a block on the media, as a copy */
  constructor(load: (blockNumber: number) => Buffer) {
    this.#load = load;
  }

  /** @hot Once a metadata block read. */
  get(blockNumber: number): CachedBlock {
    return this.#young.get(blockNumber) ?? this.#fetch(blockNumber);
  }

  /** Takes a changed block, which stays until {@link clean}. `role` is what it is known to be. */
  change(
    blockNumber: number,
    bytes: Buffer,
    { role, parts }: { role: number; parts: number },
  ): void {
    const cached = new CachedBlock(bytes, role);
    cached.verifiedParts = parts;
    this.#old.delete(blockNumber);
    this.#young.set(blockNumber, cached);
    this.#dirty.set(blockNumber, cached);
  }

  /** Says that a changed block is in its place, unless it was changed again since. */
  clean(blockNumber: number, bytes: Buffer): void {
    if (this.#dirty.get(blockNumber)?.bytes === bytes) this.#dirty.delete(blockNumber);
  }

  /** Forgets a block, changed or not: it is freed, or stored past the cache. */
  drop(blockNumber: number): void {
    this.#dirty.delete(blockNumber);
    this.#young.delete(blockNumber);
    this.#old.delete(blockNumber);
  }

  /** Forgets every change: reads show the media again. */
  dropChanges(): void {
    for (const blockNumber of this.#dirty.keys()) this.drop(blockNumber);
  }

  #fetch(blockNumber: number): CachedBlock {
    const known = this.#old.get(blockNumber) ?? this.#dirty.get(blockNumber);
    const cached = known ?? new CachedBlock(this.#load(blockNumber));
    if (this.#young.size >= GENERATION_BLOCKS_MAX) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(blockNumber, cached);
    return cached;
  }
}
