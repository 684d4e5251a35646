import { assert } from '../lib/assert.js';
import type { ByteRange } from '../lib/byte-range.js';
import { DaxdError } from '../lib/errno.js';
import { MIB, PAGE_SIZE } from '../lib/units.js';
import { copyToMap } from '../media/process-vm.js';
import { RawAccess } from '../media/raw-access.js';
import { PageRefs } from '../mm/page-refs.js';
import { ClientGone } from './connection-end.js';
import type { CutMark } from './cut-mark.js';
import type { OpenExport } from './export.js';
import type { Discarded, DiscardKind, MainCalls } from './main-calls.js';
import type { WorkerArena } from './worker-arena.js';

/** Bytes that are given up or zeroed between two looks whether the connection was cut. */
const PIECE_BYTES = 64 * MIB;

/** What the thread that pins does for it. */
type DiscardCalls = Pick<MainCalls, 'discard' | 'tryDiscard'>;

/** What an export is reached with. */
export interface ExportAccessParts {
  readonly open: OpenExport;
  readonly arena: WorkerArena;
  readonly calls: DiscardCalls;
  readonly cut: CutMark;
}

/** An open export as the worker sees it; offsets are bytes of the export. All of it blocks. */
export class ExportAccess {
  readonly info: OpenExport['info'];
  /** Page counts to look at, undefined where the device has none. */
  readonly pages: PageRefs | undefined;
  /** Byte 0 of the export, in bytes from page 0 of {@link pages}. */
  readonly pagesOffset: number;
  readonly raw: RawAccess;
  readonly start: number;
  readonly #arena: WorkerArena;
  readonly #calls: DiscardCalls;
  readonly #cut: CutMark;

  /** @throws DaxdError as `RawAccess` does. */
  constructor({ open, arena, calls, cut }: ExportAccessParts) {
    this.info = open.info;
    this.start = open.start;
    this.raw = new RawAccess(open.memory);
    this.pages = open.pages === undefined ? undefined : PageRefs.onlooker(open.pages);
    this.pagesOffset = open.start - (open.pages?.firstPfn ?? 0) * PAGE_SIZE;
    this.#arena = arena;
    this.#calls = calls;
    this.#cut = cut;
  }

  /** Gives back what it has of its own. */
  close(): void {
    this.raw.close();
  }

  /**
   * Where a byte is mapped. The range was checked: this is the one place where an offset of a
   * client becomes an address.
   *
   * @hot Once a read, once a write.
   */
  addressOf(offset: number, length: number): number {
    assert(offset >= 0 && offset + length <= this.info.sizeBytes, 'a request was checked before');
    return this.raw.memory.address + this.start + offset;
  }

  /** Makes the stores to a range durable, of whatever connection. @throws DaxdError EIO. */
  persist(offset: number, length: number): void {
    this.raw.persist(this.start + offset, length);
  }

  /** Makes all stores durable that were answered, of whatever connection. @throws DaxdError EIO. */
  flush(): void {
    // Where each store is made durable before it is answered, nothing is left to do.
    if (!this.raw.persistsEachStore) this.persist(0, this.info.sizeBytes);
  }

  /** Why a call found a range of the map bad. */
  whyBad(offset: number, length: number): 'EIO' | 'ENOSPC' {
    return this.raw.whyBad(this.start + offset, length);
  }

  /**
   * Gives up what lies in the range where that frees anything: whole pages of a sparse backing
   * that nobody pins. Of an allocated one nothing is given up, since a later store to the hole
   * could find the disk full; nor where the filesystem makes no holes.
   *
   * @returns pages that were left alone because they are pinned.
   * @throws DaxdError EIO; ClientGone when the connection is cut meanwhile.
   */
  trim(offset: number, length: number): number {
    if (!this.raw.memory.sparse) return 0;
    let pinnedPages = 0;
    this.#inPieces(offset, length, (at, run) => {
      pinnedPages += this.#punchIfPossible(at, run)?.pinnedPages ?? 0;
    });
    return pinnedPages;
  }

  /**
   * Makes the range read as zeros: pinned pages in place, others by a hole where that is
   * allowed and the filesystem makes one, or by stores.
   *
   * @param how `hole` may leave a hole; `fast` must take less than a write would.
   * @throws DaxdError EOPNOTSUPP when it would not be fast; EIO, ENOSPC; ClientGone when the
   *   connection is cut meanwhile.
   */
  writeZeroes(offset: number, length: number, how: { hole: boolean; fast: boolean }): void {
    const makesHole = this.raw.memory.sparse && how.hole;
    if (how.fast) this.#discardToZeros(makesHole ? 'punch' : 'zero', offset, length);
    else if (makesHole) this.#punchOrStore(offset, length);
    else this.#storeZeros(offset, length);
    if (this.raw.persistsEachStore) this.persist(offset, length);
  }

  /** Has the kernel read ahead. */
  willNeed(offset: number, length: number): void {
    this.raw.willNeed(this.start + offset, length);
  }

  /**
   * Stores nothing before it is known that the backing can discard: what is refused is as it was.
   * One that did it once can do it again.
   */
  #discardToZeros(kind: DiscardKind, offset: number, length: number): void {
    const left: ByteRange[] = [];
    let isPossible = false;
    this.#inPieces(offset, length, (at, run) => {
      const discarded = this.#calls.discard(kind, at, run);
      left.push(...discarded.left);
      isPossible ||= bytesOf(discarded.left) < run || this.#calls.tryDiscard(kind, at, run);
      if (isPossible) this.#storeInto(left.splice(0));
    });
    if (left.length === 0) return;
    throw new DaxdError('EOPNOTSUPP', `${this.info.name} cannot be zeroed but by stores`);
  }

  #punchOrStore(offset: number, length: number): void {
    this.#inPieces(offset, length, (at, run) => {
      const discarded = this.#punchIfPossible(at, run);
      this.#storeInto(discarded?.left ?? [{ offset: at, length: run }]);
    });
  }

  /** Undefined where the backing's filesystem cannot do it, and nothing was done. */
  #punchIfPossible(offset: number, length: number): Discarded | undefined {
    try {
      return this.#calls.discard('punch', offset, length);
    } catch (failure) {
      if (failure instanceof DaxdError && failure.code === 'EOPNOTSUPP') return undefined;
      throw failure;
    }
  }

  #storeInto(ranges: Discarded['left']): void {
    for (const { offset, length } of ranges) this.#storeZeros(offset, length);
  }

  /** Pieces end where a piece of the backing does, so that whole pages stay whole. */
  #inPieces(offset: number, length: number, work: (at: number, run: number) => void): void {
    const end = offset + length;
    for (let at = offset; at < end;) {
      const border = PIECE_BYTES - ((this.start + at) % PIECE_BYTES);
      const run = Math.min(border, end - at);
      this.#refuseCut();
      work(at, run);
      at += run;
    }
  }

  #storeZeros(offset: number, length: number): void {
    const { zeros, copyFrom, copyTo } = this.#arena;
    const address = this.addressOf(offset, length);
    assert(zeros.bytes.length * copyFrom.capacity <= PIECE_BYTES, 'one call stores a piece');
    for (let done = 0; done < length;) {
      this.#refuseCut();
      while (done + copyFrom.bytes < length && copyFrom.left > 0) {
        copyFrom.push(zeros.address, Math.min(zeros.bytes.length, length - done - copyFrom.bytes));
      }
      const run = copyFrom.bytes;
      copyTo.push(address + done, run);
      const copied = copyToMap(copyFrom, copyTo);
      // Also where the copy failed: the writes that come next use them.
      copyFrom.clear();
      copyTo.clear();
      if (copied !== run) throw this.#bad(offset + done, run);
      done += run;
    }
  }

  /** Nobody hears an answer any more, and whoever cut it waits for its end. */
  #refuseCut(): void {
    if (this.#cut.isSet) throw new ClientGone();
  }

  #bad(offset: number, length: number): DaxdError {
    const { name } = this.info;
    return new DaxdError(
      this.whyBad(offset, length),
      `bytes [${offset}, ${offset + length}) of ${name} cannot be stored: look at the disk below it`,
    );
  }
}

function bytesOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((total, { length }) => total + length, 0);
}
