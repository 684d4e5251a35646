import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

import { DaxdError } from '../../lib/errno.js';

/** Bytes of a page of LMDB's file, and of the trees in it: those of the machine (mdb.c). */
export const LMDB_PAGE_BYTES = 4096;
/** LMDB's own numbers (lmdb.h and mdb.c of the version that the package builds, format 2). */
const MAGIC = 0xbeefc0de;
const FORMAT = 2;
/** A root that there is not. */
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
/** Deeper than LMDB's own cursors go. */
const DEPTH_MAX = 32;

/** Offsets in a meta page. */
const MetaField = { magic: 24, format: 28, freeRoot: 88, mainRoot: 136, transaction: 152 } as const;

/** Offsets in the header of a page, whose nodes count from the header's end. */
const PageField = { number: 0, flags: 18, lower: 20, overflowPages: 20, upper: 22 } as const;
const PAGE_HEADER_BYTES = 24;
const PageFlag = { branch: 0x1, leaf: 0x2, overflow: 0x4 } as const;

/** Offsets in a node, whose key follows its header, and its value the key. */
const NodeField = { low: 0, high: 2, flags: 4, keyBytes: 6 } as const;
const NODE_HEADER_BYTES = 8;
const NodeFlag = { bigData: 0x1, subData: 0x2 } as const;
/** Where a database that is the value of a node has its root. */
const DB_ROOT = 40;
const DB_BYTES = 48;

/**
 * Follows every page of an LMDB file before LMDB does: it maps the file and trusts what stands
 * there, so that a torn or foreign one ends the process instead of being an error. What the
 * records say is not looked at.
 *
 * @throws DaxdError EBADMSG naming what is wrong; nothing is changed. What node:fs throws.
 */
export function checkLmdbFile(path: string): void {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    // Made, and never written: LMDB lays down its meta pages.
    if (size > 0) new FileCheck(path, fd, Math.floor(size / LMDB_PAGE_BYTES)).run();
  } finally {
    closeSync(fd);
  }
}

class FileCheck {
  readonly #path: string;
  readonly #fd: number;
  readonly #pages: number;
  /** One for each depth, so that a page stays while its children are looked at. */
  readonly #buffers: Buffer[] = [];
  #visited = 0;

  constructor(path: string, fd: number, pages: number) {
    this.#path = path;
    this.#fd = fd;
    this.#pages = pages;
  }

  run(): void {
    const metas = [this.#meta(0), this.#meta(1)];
    const [newest] = metas.toSorted((a, b) => Number(b.transaction - a.transaction));
    for (const root of newest?.roots ?? []) this.#tree(root, 0);
  }

  #meta(page: number): { readonly transaction: bigint; readonly roots: readonly bigint[] } {
    const meta = Buffer.from(this.#read(BigInt(page), 0));
    const format = meta.readUInt32LE(MetaField.format);
    if (meta.readUInt32LE(MetaField.magic) !== MAGIC || (format & 0xffff) !== FORMAT) {
      throw this.#damaged(`meta page ${page} is none of LMDB's format ${FORMAT}`);
    }
    return {
      transaction: meta.readBigUInt64LE(MetaField.transaction),
      roots: [MetaField.freeRoot, MetaField.mainRoot].map((at) => meta.readBigUInt64LE(at)),
    };
  }

  #tree(number: bigint, depth: number): void {
    if (number === NO_PAGE) return;
    if (depth > DEPTH_MAX || this.#visited > this.#pages) {
      throw this.#damaged(`its pages lead round in a circle, by page ${number}`);
    }
    this.#visited++;
    const page = this.#read(number, depth);
    const flags = page.readUInt16LE(PageField.flags);
    const isBranch = (flags & PageFlag.branch) !== 0;
    const lower = page.readUInt16LE(PageField.lower);
    const upper = page.readUInt16LE(PageField.upper);
    const isNodes = isBranch !== ((flags & PageFlag.leaf) !== 0);
    if (
      !isNodes ||
      lower > upper ||
      upper > LMDB_PAGE_BYTES - PAGE_HEADER_BYTES ||
      lower % 2 === 1
    ) {
      throw this.#damaged(`page ${number} is no page of a tree`);
    }
    for (let at = 0; at < lower; at += 2) {
      const node = PAGE_HEADER_BYTES + page.readUInt16LE(PAGE_HEADER_BYTES + at);
      if (node + NODE_HEADER_BYTES > LMDB_PAGE_BYTES) throw this.#damaged(`page ${number} is torn`);
      if (isBranch) this.#tree(childOf(page, node), depth + 1);
      else this.#leafNode(page, node, depth);
    }
  }

  #leafNode(page: Buffer, node: number, depth: number): void {
    const flags = page.readUInt16LE(node + NodeField.flags);
    const value = node + NODE_HEADER_BYTES + page.readUInt16LE(node + NodeField.keyBytes);
    const isBig = (flags & NodeFlag.bigData) !== 0;
    const bytes = page.readUInt16LE(node + NodeField.low) + lengthHigh(page, node);
    if (value + (isBig ? 8 : bytes) > LMDB_PAGE_BYTES)
      throw this.#damaged('a record leaves its page');
    if (isBig) {
      this.#overflow(page.readBigUInt64LE(value), bytes, depth + 1);
      return;
    }
    if ((flags & NodeFlag.subData) === 0) return;
    if (bytes !== DB_BYTES) throw this.#damaged('a table has no description');
    this.#tree(page.readBigUInt64LE(value + DB_ROOT), depth + 1);
  }

  #overflow(number: bigint, bytes: number, depth: number): void {
    const page = this.#read(number, depth);
    const pages = page.readUInt32LE(PageField.overflowPages);
    const isOverflow = (page.readUInt16LE(PageField.flags) & PageFlag.overflow) !== 0;
    const fits = PAGE_HEADER_BYTES + bytes <= pages * LMDB_PAGE_BYTES;
    if (!isOverflow || !fits || Number(number) + pages > this.#pages) {
      throw this.#damaged(`page ${number} does not hold the ${bytes} bytes that it should`);
    }
  }

  #read(number: bigint, depth: number): Buffer {
    if (number >= BigInt(this.#pages)) {
      throw this.#damaged(`page ${number} is beyond its end, at ${this.#pages} pages`);
    }
    const buffer = (this.#buffers[depth] ??= Buffer.alloc(LMDB_PAGE_BYTES));
    readSync(this.#fd, buffer, 0, LMDB_PAGE_BYTES, Number(number) * LMDB_PAGE_BYTES);
    if (buffer.readBigUInt64LE(PageField.number) !== number) {
      throw this.#damaged(`page ${number} is not where it says`);
    }
    return buffer;
  }

  #damaged(what: string): DaxdError {
    return new DaxdError('EBADMSG', `${this.#path} is damaged: ${what}`);
  }
}

function lengthHigh(page: Buffer, node: number): number {
  return page.readUInt16LE(node + NodeField.high) * 2 ** 16;
}

/** A branch keeps the number of its child where a leaf has the length and the flags. */
function childOf(page: Buffer, node: number): bigint {
  return BigInt(page.readUIntLE(node + NodeField.low, 6));
}
