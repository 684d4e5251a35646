import koffi from 'koffi';

import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE } from '../lib/units.js';
import { allocateArena } from './arena.js';

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
