import { constants, fstatSync, readSync } from 'node:fs';
import { type FileHandle, rm, statfs } from 'node:fs/promises';

import type { ByteRange } from '../lib/byte-range.js';
import { DaxdError, type ErrorCode } from '../lib/errno.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import { isAligned, PAGE_SIZE, STAT_BLOCK_BYTES } from '../lib/units.js';
import type { Backing, OpenBackingOptions } from './backing.js';
import { createFile } from './create-file.js';
import { FallocateMode, fallocate } from './fallocate.js';
import { FileNote } from './file-note.js';
import { refuseMounted } from './kernel-mounts.js';
import { lockBacking } from './lock.js';
import { mapWindows } from './map-windows.js';
import type { Mapping } from './mapping.js';
import { msyncView } from './mman.js';
import { openFile, unlockAndClose } from './open-file.js';
import { type PersistenceKind, Persister } from './persister.js';
import { RawMapping, type RawMemory } from './raw-memory.js';
import { seekData, seekHole } from './seek-data.js';
import { fileSystemError } from './system-call-error.js';
import type { WholeFile } from './whole-mapping.js';

/** Filesystems that live in memory, by statfs type (linux/magic.h): msync has nothing to do. */
const TMPFS_MAGIC = 0x01021994;
const RAMFS_MAGIC = 0x858458f6;

/** Why fallocate leaves the holes of a file: its disk is full, its filesystem cannot. */
const CANNOT_FILL: ReadonlySet<ErrorCode> = new Set(['ENOSPC', 'EOPNOTSUPP']);

/** Page counts are taken for less than 2 ** 32 pages. */
const BACKING_BYTES_MAX = (2 ** 32 - 1) * PAGE_SIZE;

interface FileBackingParts {
  readonly path: string;
  readonly handle: FileHandle;
  readonly mapping: Mapping;
  readonly persistence: PersistenceKind;
  readonly sparse: boolean;
  readonly created: boolean;
  readonly options: OpenBackingOptions;
}

/** A regular file, mapped shared; stores are made durable by msync. */
export class FileBacking implements Backing {
  readonly path: string;
  readonly kind = 'file';
  readonly sizeBytes: number;
  readonly alignBytes = PAGE_SIZE;
  readonly readOnly: boolean;
  readonly persistence: PersistenceKind;
  readonly sparse: boolean;
  readonly created: boolean;
  readonly mapping: Mapping;
  readonly note: FileNote;
  readonly #handle: FileHandle;
  readonly #persister: Persister;
  #raw: RawMapping | undefined;
  #canAllocate = true;

  private constructor(parts: FileBackingParts) {
    this.path = parts.path;
    this.sizeBytes = parts.mapping.length;
    this.readOnly = parts.mapping.readOnly;
    this.persistence = parts.persistence;
    this.sparse = parts.sparse;
    this.created = parts.created;
    this.mapping = parts.mapping;
    this.#handle = parts.handle;
    const { fd } = parts.handle;
    this.note = new FileNote({ fd, path: parts.path, name: 'user.daxd.leases' });
    this.#persister = new Persister({
      path: parts.path,
      mapping: parts.mapping,
      persistView: parts.persistence === 'msync' ? msyncView : undefined,
      granularityBytes: PAGE_SIZE,
      clock: parts.options.clock,
    });
  }

  /**
   * Opens, locks and maps a file that is there; an empty one is given `options.sizeBytes` before.
   *
   * @throws DaxdError EBUSY (another daxd has it, or the kernel has mounted it), EINVAL (its size, or not a regular file),
   *   ENOSPC, or the errno of open(2) or mmap(2). The file is as it was.
   */
  static async open(path: string, options: OpenBackingOptions): Promise<FileBacking> {
    const flags = options.readOnly === true ? constants.O_RDONLY : constants.O_RDWR;
    const handle = await openFile(path, flags);
    try {
      lockBacking(handle.fd, path);
      if (options.readOnly !== true) refuseMounted(handle.fd, path);
      await fillIfEmpty(handle, path, options);
      return await FileBacking.#mapFile(path, handle, options);
    } catch (failure) {
      await unlockAndClose(handle, path);
      throw failure;
    }
  }

  /**
   * Creates a file of `sizeBytes`, fully allocated unless `options.sparse`, and maps it.
   *
   * @throws DaxdError EINVAL for a size that is not whole pages, ENOSPC when the disk cannot
   *   hold it, EEXIST when the path is taken meanwhile, or the errno of open(2). No file is
   *   left behind.
   */
  static async create(
    path: string,
    sizeBytes: number,
    options: OpenBackingOptions,
  ): Promise<FileBacking> {
    checkSizeBytes(path, sizeBytes);
    const handle = await openFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
    try {
      lockBacking(handle.fd, path);
      await createFile(handle, { path, sizeBytes, sparse: options.sparse === true });
      return await FileBacking.#mapFile(path, handle, options, 'created');
    } catch (failure) {
      await rm(path, { force: true });
      await unlockAndClose(handle, path);
      throw failure;
    }
  }

  static async #mapFile(
    path: string,
    handle: FileHandle,
    options: OpenBackingOptions,
    origin: 'created' | 'existing' = 'existing',
  ): Promise<FileBacking> {
    const { readOnly = false } = options;
    const stat = await handle.stat();
    if (!stat.isFile()) {
      throw new DaxdError(
        'EINVAL',
        `${path} is not a regular file: give one, or a device-dax node`,
      );
    }
    checkSizeBytes(path, stat.size);
    const allocatedBytes = stat.blocks * STAT_BLOCK_BYTES;
    const file = { path, fd: handle.fd, length: stat.size };
    const sparse = allocatedBytes < stat.size || (!readOnly && keepsHoles(file));
    // Reads of a hole are harmless, so only stores are worth the warning.
    if (sparse && !readOnly) {
      options.log.warn(
        { path, sizeBytes: stat.size, allocatedBytes },
        'the backing is sparse: where the disk is full, changes are refused; ' +
          'fallocate(1) fills the holes',
      );
    }
    const persistence = await persistenceOf(path, options);
    const mapping = mapWindows({ path, handle, length: stat.size, readOnly });
    const created = origin === 'created';
    return new FileBacking({ path, handle, mapping, persistence, sparse, created, options });
  }

  get persistLatency(): LatencyHistogram {
    return this.#persister.latency;
  }

  persist(offset: number, length: number): Promise<void> {
    return this.#persister.persist(offset, length);
  }

  checkSize(): void {
    const sizeNowBytes = fstatSync(this.#handle.fd).size;
    if (sizeNowBytes >= this.sizeBytes) return;
    throw new DaxdError(
      'EIO',
      `${this.path} shrank from ${this.sizeBytes} to ${sizeNowBytes} bytes while daxd has it ` +
        'mapped: stop daxd and restore the file from a backup',
    );
  }

  allocate(offset: number, length: number): void {
    if (!this.sparse || this.readOnly || length === 0 || !this.#canAllocate) return;
    const { path } = this;
    try {
      fallocate({ fd: this.#handle.fd, path, offset, length }, FallocateMode.KeepSize);
    } catch (cause) {
      if (!(cause instanceof DaxdError)) throw cause;
      // Its filesystem cannot say: then a store to a hole is as dangerous as it was.
      if (cause.code === 'EOPNOTSUPP') this.#canAllocate = false;
      else if (cause.code !== 'ENOSPC') throw cause;
      else {
        const message = `the disk under ${path}, which is sparse, is full: free some of it`;
        throw new DaxdError('ENOSPC', message, { cause });
      }
    }
  }

  pread(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length;) {
      const read = this.#preadOnce(offset + done, target.subarray(done));
      if (read === 0) {
        this.checkSize();
        throw new DaxdError('EIO', `${this.path} ends before byte ${offset + done + 1}`);
      }
      done += read;
    }
  }

  /**
   * Leaves out holes, and blocks that are allocated but were never written. Stores through
   * the mapping count: the page cache is asked too (lseek(2), SEEK_DATA).
   */
  *dataRuns(offset: number, length: number): Generator<ByteRange> {
    const { path } = this;
    const { fd } = this.#handle;
    const end = offset + length;
    for (let at = offset; at < end;) {
      const start = seekData({ path, fd, offset: at });
      if (start === undefined || start >= end) return;
      const stop = Math.min(end, seekHole({ path, fd, offset: start }) ?? end);
      yield { offset: start, length: stop - start };
      at = stop;
    }
  }

  rawMemory(): RawMemory {
    this.#raw ??= new RawMapping(this, this.#handle.fd);
    return this.#raw.memory;
  }

  async close(): Promise<void> {
    await this.#persister.shut();
    await this.#raw?.close();
    await unlockAndClose(this.#handle, this.path);
  }

  #preadOnce(offset: number, target: Uint8Array): number {
    try {
      return readSync(this.#handle.fd, target, 0, target.length, offset);
    } catch (cause) {
      throw fileSystemError(`read ${this.path}, ${target.length} bytes at ${offset}`, cause);
    }
  }
}

/** An empty file is what a start leaves that was killed before it had its size: it is given one. */
async function fillIfEmpty(
  handle: FileHandle,
  path: string,
  { readOnly = false, sizeBytes, sparse = false }: OpenBackingOptions,
): Promise<void> {
  if (readOnly || sizeBytes === undefined || (await handle.stat()).size > 0) return;
  checkSizeBytes(path, sizeBytes);
  try {
    await createFile(handle, { path, sizeBytes, sparse });
  } catch (failure) {
    await handle.truncate(0);
    throw failure;
  }
}

/**
 * Whether a file has holes that cannot be filled, though its blocks are as many as its bytes:
 * those that hold its extents are counted too, and so are those past its end. Unwritten blocks
 * look like holes, so only the filesystem can tell; what is allocated it leaves as it is.
 *
 * @throws DaxdError EIO, and what else fallocate(2) says.
 */
function keepsHoles({ path, fd, length }: WholeFile): boolean {
  if ((seekHole({ path, fd, offset: 0 }) ?? length) >= length) return false;
  try {
    fallocate({ fd, path, offset: 0, length }, FallocateMode.KeepSize);
    return false;
  } catch (failure) {
    if (failure instanceof DaxdError && CANNOT_FILL.has(failure.code)) return true;
    throw failure;
  }
}

function checkSizeBytes(path: string, sizeBytes: number): void {
  if (sizeBytes > BACKING_BYTES_MAX) {
    throw new DaxdError(
      'EFBIG',
      `${path}: ${sizeBytes} bytes are more than the ${BACKING_BYTES_MAX} whose pages daxd can count: give less`,
    );
  }
  if (sizeBytes <= 0) {
    throw new DaxdError('EINVAL', `${path}: a size of ${sizeBytes} holds nothing: give --size`);
  }
  if (!isAligned(sizeBytes, PAGE_SIZE)) {
    throw new DaxdError(
      'EINVAL',
      `${path}: size ${sizeBytes} is not a multiple of ${PAGE_SIZE}: was the image cut short?`,
    );
  }
}

async function persistenceOf(path: string, options: OpenBackingOptions): Promise<PersistenceKind> {
  if (options.persistence === 'none') return 'none';
  const { type } = await statfs(path);
  return type === TMPFS_MAGIC || type === RAMFS_MAGIC ? 'none' : 'msync';
}
