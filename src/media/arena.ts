import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { systemCallError } from './system-call-error.js';

const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const PROT_READ_WRITE = 3;

const mmap: (...args: [null, number, number, number, number, number]) => bigint = koffi
  .load('libc.so.6')
  .func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)');

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
