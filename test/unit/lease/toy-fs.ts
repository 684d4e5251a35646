import type { LeasableExtent, LeasableFile, LeasableFs } from '../../../src/lease/lease-target.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';

interface ToyFile {
  readonly inode: number;
  readonly generation: number;
  readonly type: string;
  size: number;
  /** By page of the file; a page without a block is a hole. */
  readonly blocks: Map<number, { readonly block: number; readonly unwritten: boolean }>;
}

/** A filesystem of flat files, whose blocks are where the test puts them. */
export class ToyFs implements LeasableFs {
  readonly readOnly: boolean;
  /** Runs at the start of each preparation, and between its allocation and its end. */
  beforePrepare: () => void | Promise<void> = () => {};
  afterPrepare: () => void | Promise<void> = () => {};
  prepares = 0;
  /** What a test has not become durable yet. */
  durable: Promise<void> | undefined;
  /** What is kept apart, and what of it was freed. */
  readonly kept: { mediaOffset: number; length: number }[] = [];
  /** What freeing them waits for. */
  freeGate: Promise<unknown> | undefined;
  readonly quarantine = {
    bytes: 0,
    reservedBytes: 0,
    capBytes: Infinity,
    reserve: (_change: string, bytes: number): (() => void) => {
      this.quarantine.reservedBytes += bytes;
      return () => {
        this.quarantine.reservedBytes -= bytes;
      };
    },
    extents: (): readonly { mediaOffset: number; length: number }[] =>
      this.kept.toSorted((a, b) => a.mediaOffset - b.mediaOffset),
    release: async (mediaOffset: number, length: number): Promise<void> => {
      await this.freeGate;
      for (let at = mediaOffset; at < mediaOffset + length; at += PAGE_SIZE) this.#free(at);
    },
  };
  readonly #files = new Map<string, ToyFile>();
  #nextInode = 11;
  #nextGeneration = 0x1000;
  #nextBlock = 1000;

  constructor(readOnly: boolean) {
    this.readOnly = readOnly;
  }

  /** Each text is a run of pages: `w` written, `u` unwritten, `-` hole; runs lie apart. */
  create(path: string, runs: readonly string[], size?: number): ToyFile {
    const file = this.#newFile('file');
    let page = 0;
    for (const run of runs) {
      this.#nextBlock += 3;
      for (const kind of run) {
        const unwritten = kind === 'u';
        if (kind !== '-') file.blocks.set(page, { block: this.#nextBlock++, unwritten });
        page++;
      }
    }
    file.size = size ?? page * PAGE_SIZE;
    this.#files.set(path, file);
    return file;
  }

  createOther(path: string, type: string): void {
    this.#files.set(path, this.#newFile(type));
  }

  /** Makes one page a hole again, as a punch between two steps would. */
  punch(path: string, page: number): void {
    this.#files.get(path)?.blocks.delete(page);
  }

  unlink(path: string): void {
    this.#files.delete(path);
  }

  /** Puts another file with the same inode and blocks in the place of one. */
  reuseInode(path: string): void {
    const { generation } = this.#newFile('file');
    this.#files.set(path, { ...this.#file(path), generation });
  }

  rename(from: string, to: string): void {
    const file = this.#file(from);
    this.#files.delete(from);
    this.#files.set(to, file);
  }

  /** What a lease of any file is asked first. */
  assertLendable = (): void => {};

  fileAt(path: string): LeasableFile {
    const { inode, generation, type, size, blocks } = this.#file(path);
    const { assertLendable } = this;
    return { inode, generation, type, size, assertLendable, extents: () => extentsOf(blocks) };
  }

  fileOf(number: number): LeasableFile {
    const { inode, generation, type, size, blocks } = this.#inode(number);
    const { assertLendable } = this;
    return { inode, generation, type, size, assertLendable, extents: () => extentsOf(blocks) };
  }

  async prepareDma(inode: number, offset: number, length: number): Promise<void> {
    this.prepares++;
    await this.beforePrepare();
    const { blocks } = this.#inode(inode);
    for (let page = offset / PAGE_SIZE; page < (offset + length) / PAGE_SIZE; page++) {
      const block = blocks.get(page)?.block ?? this.#nextBlock++;
      blocks.set(page, { block, unwritten: false });
    }
    await this.afterPrepare();
  }

  whenDurable(): Promise<void> | undefined {
    return this.durable;
  }

  /** Moves a page of a file into the quarantine, as a change that defers does. */
  moveAway(path: string, page: number): { mediaOffset: number; length: number } {
    const { blocks } = this.#file(path);
    const run = { mediaOffset: (blocks.get(page)?.block ?? 0) * PAGE_SIZE, length: PAGE_SIZE };
    blocks.delete(page);
    this.kept.push(run);
    return run;
  }

  #free(mediaOffset: number): void {
    const at = this.kept.findIndex((one) => one.mediaOffset === mediaOffset);
    if (at < 0) throw new DaxdError('ENOENT', `${mediaOffset} is not quarantined`);
    this.kept.splice(at, 1);
  }

  #newFile(type: string): ToyFile {
    const inode = this.#nextInode++;
    return { inode, generation: this.#nextGeneration++, type, size: 0, blocks: new Map() };
  }

  #file(path: string): ToyFile {
    const file = this.#files.get(path);
    if (file === undefined) throw new DaxdError('ENOENT', `there is no file ${path}`);
    return file;
  }

  #inode(inode: number): ToyFile {
    for (const file of this.#files.values()) if (file.inode === inode) return file;
    throw new DaxdError('ENOENT', `there is no inode ${inode}`);
  }
}

function* extentsOf(blocks: ToyFile['blocks']): Generator<LeasableExtent> {
  for (const page of [...blocks.keys()].toSorted((a, b) => a - b)) {
    const { block, unwritten } = blocks.get(page) ?? { block: 0, unwritten: true };
    yield {
      fileOffset: page * PAGE_SIZE,
      mediaOffset: block * PAGE_SIZE,
      length: PAGE_SIZE,
      unwritten,
    };
  }
}
