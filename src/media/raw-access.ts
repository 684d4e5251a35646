import { fstatSync } from 'node:fs';

import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import { FlushMapping } from './flush-mapping.js';
import { seekData, seekHole } from './libc.js';
import { LIBPMEM } from './libpmem.js';
import type { RawMemory } from './raw-memory.js';
import { systemCallError } from './system-call-error.js';

const MS_SYNC = 4;
const MADV_WILLNEED = 3;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const PROT_READ_WRITE = 3;
/** `struct iovec`: base and length, eight bytes each. */
export const IOVEC_BYTES = 16;

const libc = koffi.load('libc.so.6');

type CopyBetween = (
  ...args: [
    pid: number,
    local: number,
    localCount: number,
    remote: number,
    remoteCount: number,
    flags: number,
  ]
) => number;
const COPY_ARGUMENTS =
  '(int pid, uintptr_t local, unsigned long nlocal, uintptr_t remote, unsigned long nremote, unsigned long flags)';
const processVmWritev: CopyBetween = libc.func(`int64_t process_vm_writev${COPY_ARGUMENTS}`);
const processVmReadv: CopyBetween = libc.func(`int64_t process_vm_readv${COPY_ARGUMENTS}`);
const { pid } = process;

/** `count` of `struct iovec`, at an address. */
export interface IovecArray {
  readonly arrayAddress: number;
  readonly count: number;
}

/**
 * Copies what one array names to where the other does, within this process. A bad place ends
 * it with a short count or -1, where a plain copy would be SIGBUS.
 *
 * @returns bytes copied, or -1.
 * @hot Once a batch of small writes.
 */
export function copyToMap(from: IovecArray, map: IovecArray): number {
  return processVmWritev(pid, from.arrayAddress, from.count, map.arrayAddress, map.count, 0);
}

/** The other way: what `map` names to where `to` does. As {@link copyToMap} returns. */
export function copyFromMap(map: IovecArray, to: IovecArray): number {
  return processVmReadv(pid, to.arrayAddress, to.count, map.arrayAddress, map.count, 0);
}

/**
 * Whether the calls that copy are to be had: a sandbox may forbid them.
 *
 * @throws DaxdError EPERM.
 */
export function checkCopyCalls(): void {
  const arena = allocateArena(PAGE_SIZE);
  const words = new BigUint64Array(arena.bytes.buffer, arena.bytes.byteOffset, 4);
  words.set([BigInt(arena.address + 64), 1n, BigInt(arena.address + 128), 1n]);
  const from = { arrayAddress: arena.address, count: 1 };
  const to = { arrayAddress: arena.address + IOVEC_BYTES, count: 1 };
  if (copyToMap(from, to) === 1 && copyFromMap(from, to) === 1) return;
  throw new DaxdError(
    'EPERM',
    'process_vm_writev and process_vm_readv are forbidden here, and NBD needs them: allow both ' +
      'in the sandbox of daxd (SystemCallFilter, a seccomp profile)',
  );
}

const msync: (address: number, length: number, flags: number) => number = libc.func(
  'int msync(uintptr_t addr, size_t length, int flags)',
);
const madvise: (address: number, length: number, advice: number) => number = libc.func(
  'int madvise(uintptr_t addr, size_t length, int advice)',
);
const mmap: (...args: [null, number, number, number, number, number]) => bigint = libc.func(
  'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
);

/** Memory whose address system calls are given. */
export interface Arena {
  readonly address: number;
  readonly bytes: Buffer;
}

/**
 * Zeroed memory outside the garbage collector's reach, for as long as the thread lives.
 *
 * @throws DaxdError ENOMEM.
 */
export function allocateArena(length: number): Arena {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const address = mmap(null, length, PROT_READ_WRITE, flags, -1, 0);
  if (address === 2n ** 64n - 1n) throw systemCallError('mmap', `${length} bytes`, koffi.errno());
  return { address: Number(address), bytes: Buffer.from(koffi.view(address, length)) };
}

/** A part of an arena. */
export function arenaPart({ address, bytes }: Arena, at: number, length: number): Arena {
  assert(at + length <= bytes.length, 'a part lies inside its arena');
  return { address: address + at, bytes: bytes.subarray(at, at + length) };
}

/**
 * What a thread that serves block requests does to the media beside moving bytes; it blocks. One
 * for each client: it tells of what could not be made durable since it was made.
 */
export class RawAccess {
  readonly memory: RawMemory;
  readonly #pmemPersist: ((address: number, length: number) => void) | undefined;
  /** What msync is given; undefined where it is not called. */
  readonly #flush: FlushMapping | undefined;

  /**
   * @throws DaxdError EOPNOTSUPP when libpmem cannot be loaded where it is needed; what
   *   `FlushMapping` says.
   */
  constructor(memory: RawMemory) {
    this.memory = memory;
    this.#pmemPersist = memory.persistence === 'libpmem' ? loadPmemPersist() : undefined;
    this.#flush = memory.persistence === 'msync' ? new FlushMapping(memory) : undefined;
  }

  /** Gives back what it has of its own. Nobody uses it any more. */
  close(): void {
    this.#flush?.close();
  }

  /**
   * Whether each store must be made durable by the thread that made it: a flush of cache
   * lines is ordered by the fence of its own processor alone, so that one flush cannot speak
   * for what other threads stored.
   */
  get persistsEachStore(): boolean {
    return this.#pmemPersist !== undefined;
  }

  /**
   * Makes the stores to [offset, offset + length) of the backing durable, whichever thread
   * made them, and waits for it.
   *
   * @throws DaxdError EIO when they may not be, or others may not that were stored before: that is
   *   told once to each who asks.
   */
  persist(offset: number, length: number): void {
    if (length === 0) return;
    this.#pmemPersist?.(this.#addressOf(offset, length), length);
    if (this.#flush === undefined) return;
    const start = roundDown(offset, PAGE_SIZE);
    const span = roundUp(offset + length, PAGE_SIZE) - start;
    this.#assertInside(start, span);
    if (msync(this.#flush.address + start, span, MS_SYNC) === 0) return;
    const cause = systemCallError('msync', `${this.memory.path}, ${span} bytes`, koffi.errno());
    throw new DaxdError('EIO', `${cause.message}: check the disk below it`, { cause });
  }

  /** Asks the kernel to read ahead; a hint, whose failure changes nothing. */
  willNeed(offset: number, length: number): void {
    const start = roundDown(offset, PAGE_SIZE);
    madvise(
      this.#addressOf(start, offset + length - start),
      offset + length - start,
      MADV_WILLNEED,
    );
  }

  /** The first byte from `offset` on that is in no hole; undefined when only a hole follows. */
  seekData(offset: number): number | undefined {
    const { path, fd } = this.memory;
    return seekData({ path, fd, offset });
  }

  /** The first byte from `offset` on that is in a hole, the end of the file at last. */
  seekHole(offset: number): number | undefined {
    const { path, fd } = this.memory;
    return seekHole({ path, fd, offset });
  }

  /**
   * Why a system call found [offset, offset + length) of the mapping bad: EIO where the file
   * shrank or its disk failed, ENOSPC where a hole could not be filled. EIO too where nobody can
   * tell: on a disk that fails, whoever asks about the file may get no answer either.
   */
  whyBad(offset: number, length: number): 'EIO' | 'ENOSPC' {
    const { kind, fd } = this.memory;
    try {
      if (kind !== 'file' || fstatSync(fd).size < offset + length) return 'EIO';
      return this.#hasHole(offset, length) ? 'ENOSPC' : 'EIO';
    } catch {
      return 'EIO';
    }
  }

  #hasHole(offset: number, length: number): boolean {
    const hole = this.seekHole(offset);
    return hole !== undefined && hole < offset + length;
  }

  #addressOf(offset: number, length: number): number {
    this.#assertInside(offset, length);
    return this.memory.address + offset;
  }

  #assertInside(offset: number, length: number): void {
    assert(
      offset >= 0 && length >= 0 && offset + length <= this.memory.length,
      'an access lies inside its backing',
    );
  }
}

function loadPmemPersist(): (address: number, length: number) => void {
  try {
    return koffi.load(LIBPMEM).func('void pmem_persist(uintptr_t addr, size_t len)');
  } catch (cause) {
    throw new DaxdError(
      'EOPNOTSUPP',
      `${LIBPMEM} cannot be loaded: install Debian package libpmem1`,
      {
        cause,
      },
    );
  }
}
