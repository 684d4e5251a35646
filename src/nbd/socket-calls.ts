import { constants } from 'node:os';

import koffi from 'koffi';

import { ClientGone } from './connection-end.js';
import type { Iovecs } from './iovecs.js';

/** Values of Linux (asm-generic/socket.h, sys/socket.h, fcntl.h). */
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_KEEPALIVE = 9;
const SO_DOMAIN = 39;
const AF_UNIX = 1;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const F_SETPIPE_SZ = 1031;
const F_GETPIPE_SZ = 1032;
const O_CLOEXEC = 0o2000000;
const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;
const O_NONBLOCK = 0o4000;
const SHUT_RD = 0;
const SHUT_RDWR = 2;
/** Do not wait for bytes; do not raise SIGPIPE; more follows at once. */
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_MORE = 0x8000;

const libc = koffi.load('libc.so.6');

/**
 * Receives into memory, waiting unless told otherwise.
 *
 * @returns bytes received, 0 at the end, or -1: see {@link CallFailures}.
 * @hot Once a batch of requests.
 */
export const recv: (fd: number, address: number, length: number, flags: number) => number =
  libc.func('int64_t recv(int fd, uintptr_t buf, size_t len, int flags)');

/**
 * Receives into the pieces of memory that a `struct msghdr` names. As {@link recv} returns.
 *
 * @hot Once a write.
 */
export const recvmsg: (fd: number, message: number, flags: number) => number = libc.func(
  'int64_t recvmsg(int fd, uintptr_t msg, int flags)',
);

/**
 * Sends the pieces of memory that a `struct msghdr` names, waiting until all are taken; less
 * is sent where one of them turns out bad.
 *
 * @returns bytes sent, or -1: see {@link CallFailures}.
 * @hot Once a batch of replies.
 */
export const sendmsg: (fd: number, message: number, flags: number) => number = libc.func(
  'int64_t sendmsg(int fd, uintptr_t msg, int flags)',
);

const vmspliceCall: (fd: number, iovecs: number, count: number, flags: number) => number =
  libc.func('int64_t vmsplice(int fd, uintptr_t iov, size_t count, unsigned int flags)');

/**
 * Puts references to the pages that `count` iovecs name into a pipe, as many as it has room for and
 * as are readable.
 *
 * @returns bytes that are in it now, or -1: see {@link CallFailures}.
 * @hot Once a MiB of large reads.
 */
export function vmsplice(pipe: number, iovecs: number, count: number): number {
  return vmspliceCall(pipe, iovecs, count, SPLICE_F_NONBLOCK);
}

const spliceCall: (
  ...args: [from: number, fromAt: null, to: number, toAt: null, length: number, flags: number]
) => number = libc.func(
  'int64_t splice(int from, void *fromAt, int to, void *toAt, size_t length, unsigned int flags)',
);

/**
 * Passes on to a socket what a pipe holds, waiting until some of it is taken.
 *
 * @returns bytes passed on, or -1: see {@link CallFailures}.
 * @hot Once a MiB of large reads.
 */
export function splice(pipe: number, socket: number, length: number): number {
  return spliceCall(pipe, null, socket, null, length, SPLICE_F_MOVE);
}

const pipe2: (fds: Int32Array, flags: number) => number = libc.func(
  'int pipe2(_Out_ int *fds, int flags)',
);
const shutdown: (fd: number, how: number) => number = libc.func('int shutdown(int fd, int how)');
const close: (fd: number) => number = libc.func('int close(int fd)');
const fcntl: (fd: number, command: number, argument: number) => number = libc.func(
  'int fcntl(int fd, int cmd, int arg)',
);
const setsockopt: (
  ...args: [fd: number, level: number, name: number, value: Int32Array, length: number]
) => number = libc.func(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
);
const getsockopt: (
  ...args: [fd: number, level: number, name: number, value: Int32Array, length: Uint32Array]
) => number = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ int *value, _Inout_ uint32_t *length)',
);

/** Why a call failed: it is to be made again, its memory is bad, or its connection is gone. */
export type Failure = 'again' | 'bad-address' | 'gone';

const { EAGAIN, EFAULT, EINTR } = constants.errno;
/** A call that fails so often in a row for a reason that is not looked for has its reason. */
const UNKNOWN_MAX = 2;

/**
 * Looks at failures of calls in a row. Between a call and the look at errno the engine may
 * have made calls of its own, which leave another errno: so a connection counts as gone when
 * the call fails again. What ends a connection stays; a call that did not fail starts anew.
 */
export class CallFailures {
  #unknown = 0;

  /** Why the last call on this thread failed. */
  look(): Failure {
    const errno = koffi.errno();
    if (errno === EFAULT) return 'bad-address';
    if (errno === EINTR || errno === EAGAIN) return 'again';
    this.#unknown++;
    return this.#unknown < UNKNOWN_MAX ? 'again' : 'gone';
  }

  /** A call succeeded. @hot Once a batch. */
  clear(): void {
    this.#unknown = 0;
  }
}

/** Sends all pieces of memory, however many calls that takes. @throws ClientGone */
export function sendAll(fd: number, iovecs: Iovecs, failures: CallFailures): void {
  while (iovecs.bytes > 0) {
    const sent = sendmsg(fd, iovecs.arm(), MSG_NOSIGNAL);
    if (sent >= 0) iovecs.advance(sent);
    else if (failures.look() !== 'again') throw new ClientGone();
  }
}

/**
 * Another descriptor of the same socket.
 *
 * @returns the descriptor, or -1 where the process has no more of them.
 */
export function duplicate(fd: number): number {
  return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/** Has calls on the socket wait, whichever descriptor they use. */
export function makeBlocking(fd: number): void {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) & ~O_NONBLOCK);
}

/** Whether it is a Unix socket, and not one of TCP. */
export function isUnixSocket(fd: number): boolean {
  const domain = Int32Array.of(0);
  const failed = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, domain, Uint32Array.of(domain.byteLength));
  return failed === 0 && domain[0] === AF_UNIX;
}

/** Makes room for a whole batch of replies, and notices peers that are gone. */
export function tuneSocket(fd: number, sendBytes: number): void {
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, Int32Array.of(sendBytes), Int32Array.BYTES_PER_ELEMENT);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, Int32Array.of(1), Int32Array.BYTES_PER_ELEMENT);
}

/** Lets whoever waits for bytes see the end once it has what was received before. */
export function shutdownReceive(fd: number): void {
  shutdown(fd, SHUT_RD);
}

/** Ends the connection under whoever waits in a call on it. */
export function shutdownBoth(fd: number): void {
  shutdown(fd, SHUT_RDWR);
}

/**
 * A pipe that holds so many bytes, or, where a user's pipes have their limit, fewer.
 *
 * @returns its ends and its bytes; undefined where the process has no descriptors left.
 */
export function openPipe(bytes: number): { in: number; out: number; bytes: number } | undefined {
  const fds = new Int32Array(2);
  if (pipe2(fds, O_CLOEXEC) !== 0) return undefined;
  const [out = -1, into = -1] = fds;
  fcntl(into, F_SETPIPE_SZ, bytes);
  return { in: into, out, bytes: fcntl(into, F_GETPIPE_SZ, 0) };
}

/** Gives a descriptor back. */
export function closeDescriptor(fd: number): void {
  close(fd);
}
