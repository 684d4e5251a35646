import type { ByteRange } from '../lib/byte-range.js';
import type { Clock } from '../lib/clock.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { Logger } from '../lib/logger.js';
import type { FileNote } from './file-note.js';
import type { Mapping } from './mapping.js';
import type { PersistenceKind } from './persister.js';
import type { RawMemory } from './raw-memory.js';

/**
 * The bytes that stand for persistent memory: an open, locked and mapped file or device.
 * Offsets and lengths are bytes from the start of the backing, below 2 ** 53.
 */
export interface Backing {
  readonly path: string;
  readonly kind: 'file' | 'device-dax';
  readonly sizeBytes: number;
  /** What mappings are aligned to: 4096 for a file, the device's own for device-dax. */
  readonly alignBytes: number;
  readonly readOnly: boolean;
  readonly persistence: PersistenceKind;
  /** Whether it had holes when it was opened: a store there can find the disk full. */
  readonly sparse: boolean;
  /** Whether this open created it. */
  readonly created: boolean;
  readonly mapping: Mapping;
  /** Seconds from the call of `persist` until the range was durable. */
  readonly persistLatency: LatencyHistogram;
  /** A line that its file carries, whatever its path. Missing where there is no file. */
  readonly note?: FileNote;

  /**
   * Makes the stores to [offset, offset + length) durable, off the main thread. Any alignment
   * does; length 0 settles at once. Stores made after the call may or may not be included.
   *
   * @throws DaxdError EIO when the range may not be durable; it stays unknown how much is.
   */
  persist(offset: number, length: number): Promise<void>;

  /**
   * Called before stores that would otherwise fault: touching a page past the end of a file
   * kills the process with SIGBUS. Does not wait.
   *
   * @throws DaxdError EIO when the file is now smaller than what is mapped.
   */
  checkSize(): void;

  /**
   * Copies `target.length` bytes from `offset` on into `target` by a system call: where the file
   * has shrunk or its disk fails it throws, where a touch of the mapping ends the process, and a
   * hole stays one. It sees what was stored through mappings. Missing where the media can only
   * be mapped.
   *
   * @throws DaxdError EIO, or the errno of pread(2).
   */
  pread?(offset: number, target: Uint8Array): void;

  /**
   * Called before stores to [offset, offset + length): fills the holes of a sparse file there, where
   * a full disk would end the process with SIGBUS. What the file holds is not changed. Does not
   * wait. Missing where there are no holes.
   *
   * @throws DaxdError ENOSPC when the disk is full, EIO.
   */
  allocate?(offset: number, length: number): void;

  /**
   * The parts of [offset, offset + length) that may hold anything but zeros, ascending and
   * inside that range. Missing where the media cannot tell: any part may.
   *
   * @throws DaxdError EIO
   */
  dataRuns?(offset: number, length: number): Iterable<ByteRange>;

  /**
   * The backing for threads that move bytes by system calls; mapped at the first call, and
   * until `close`, by when none of them may be left. Missing where there is no such mapping.
   *
   * @throws DaxdError with the errno of mmap(2).
   */
  rawMemory?(): RawMemory;

  /**
   * Waits for persists under way, then unlocks and closes. The mapping itself lives until
   * the last view of it is collected, so bytes stay readable in windows that were touched;
   * nobody may store to them then.
   */
  close(): Promise<void>;
}

/** How to open a backing; see `openBacking`. */
export interface OpenBackingOptions {
  /** Creates the file with this size when it is missing. An existing file is never resized. */
  readonly sizeBytes?: number;
  /** Leaves a created file unallocated. */
  readonly sparse?: boolean;
  /** Maps without write access. The lock is exclusive all the same: one daxd a backing. */
  readonly readOnly?: boolean;
  /** `none` makes `persist` do nothing; `auto`, the default, takes what the backing needs. */
  readonly persistence?: 'auto' | 'none';
  readonly log: Logger;
  /** Times persists; the system's clock by default. */
  readonly clock?: Clock;
}
