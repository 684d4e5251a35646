import koffi from 'koffi';

import { assert } from '../lib/assert.js';
import { mapPrivate } from './mman.js';

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
  const address = mapPrivate(length);
  return { address, bytes: Buffer.from(koffi.view(BigInt(address), length)) };
}

/** A part of an arena. */
export function arenaPart({ address, bytes }: Arena, at: number, length: number): Arena {
  assert(at + length <= bytes.length, 'a part lies inside its arena');
  return { address: address + at, bytes: bytes.subarray(at, at + length) };
}
