import type { Test } from 'tap';

import type { HeaderStyle, Request } from '../support/nbd/message.js';
import { Command, CommandFlag, NbdErrno } from '../support/nbd/protocol.js';
import type { Transmission } from '../support/nbd/transmission.js';

/** A request that must fail, and how. */
export interface WrongRequest {
  readonly name: string;
  readonly request: Request;
  readonly errno: number;
  /** Where it is wrong; everywhere when left out. */
  readonly only?: readonly HeaderStyle[];
}

/** What the payloads of wrong writes consist of. */
export const WRONG_BYTE = 0x25;

const { Read, Write, Trim, Cache, WriteZeroes, BlockStatus } = Command;
const OFFSETS_BEHIND = [2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n];

/**
 * Requests that must fail with their payload read, for an export of `size` bytes with a context
 * selected where the style allows one.
 */
export function wrongRequests(size: number, style: HeaderStyle): WrongRequest[] {
  const all = [...behindTheEnd(size), ...unknownCommands(), ...unknownFlags(), ...flagsElsewhere()];
  return all
    .filter(({ only }) => only === undefined || only.includes(style))
    .filter(({ request }) => request.command !== BlockStatus || style !== 'simple')
    .map((wrong) => (style === 'extended' ? withPayloadLength(wrong) : wrong));
}

/** Whether the client is still served what it asks: the request before it was read to its end. */
export async function isServed(t: Test, client: Transmission, name: string): Promise<void> {
  const bytes = Buffer.from(name);
  await client.write(7, bytes);
  t.ok(bytes.equals(await client.read(7, bytes.length)), `${name}: the connection goes on`);
}

function withPayloadLength(wrong: WrongRequest): WrongRequest {
  const { request } = wrong;
  if (request.payload === undefined) return wrong;
  const flags = (request.flags ?? 0) | CommandFlag.PayloadLen;
  return { ...wrong, request: { ...request, flags } };
}

function behindTheEnd(size: number): WrongRequest[] {
  const errnos: readonly (readonly [string, number, number])[] = [
    ['read', Read, NbdErrno.EINVAL],
    ['trim', Trim, NbdErrno.EINVAL],
    ['cache', Cache, NbdErrno.EINVAL],
    ['block status', BlockStatus, NbdErrno.EINVAL],
    ['write zeroes', WriteZeroes, NbdErrno.ENOSPC],
  ];
  const ranges: [bigint, bigint][] = [
    [BigInt(size), 1n],
    [BigInt(size) - 1n, 2n],
    [0n, BigInt(size) + 1n],
    [1n, 2n ** 32n - 1n],
    ...OFFSETS_BEHIND.map((offset): [bigint, bigint] => [offset, 1n]),
    ...OFFSETS_BEHIND.map((offset): [bigint, bigint] => [offset, 4096n]),
  ];
  const wrong = errnos.flatMap(([name, command, errno]) =>
    ranges.map(([offset, length]) => ({
      name: `${name} of ${length} bytes at ${offset}`,
      request: { command, offset, length },
      errno,
    })),
  );
  const writes = [BigInt(size), BigInt(size) - 511n, ...OFFSETS_BEHIND].map((offset) => ({
    name: `write at ${offset}`,
    request: { command: Write, offset, payload: Buffer.alloc(512, WRONG_BYTE) },
    errno: NbdErrno.ENOSPC,
  }));
  const payload = Buffer.alloc(2 ** 20, WRONG_BYTE);
  const long = { command: Write, offset: BigInt(size) - 4096n, payload };
  return [...wrong, ...writes, { name: 'a long write', request: long, errno: NbdErrno.ENOSPC }];
}

function unknownCommands(): WrongRequest[] {
  return [Command.Resize, 9, 255, 256, 65_535].map((command) => ({
    name: `command ${command}`,
    request: { command, length: 512 },
    errno: NbdErrno.EINVAL,
  }));
}

function unknownFlags(): WrongRequest[] {
  const payload = Buffer.alloc(1024, WRONG_BYTE);
  const commands = [Read, Command.Flush, Trim, Cache, WriteZeroes, BlockStatus];
  return [1 << 6, 1 << 8, 1 << 15].flatMap((flags) => [
    ...commands.map((command) => ({
      name: `flag ${flags} of command ${command}`,
      request: { command, flags, length: command === Command.Flush ? 0 : 512 },
      errno: NbdErrno.EINVAL,
    })),
    {
      name: `flag ${flags} of a write`,
      request: { command: Write, flags, payload },
      errno: NbdErrno.EINVAL,
    },
  ]);
}

/** Flags that are known, on a command that does not know them. */
function flagsElsewhere(): WrongRequest[] {
  const { NoHole, Df, ReqOne, FastZero, PayloadLen } = CommandFlag;
  const pairs: readonly (readonly [number, number])[] = [
    [Read, NoHole],
    [Read, ReqOne],
    [Read, FastZero],
    [Trim, NoHole],
    [Trim, Df],
    [Trim, FastZero],
    [Cache, Df],
    [Cache, ReqOne],
    [WriteZeroes, Df],
    [WriteZeroes, ReqOne],
    [BlockStatus, NoHole],
    [BlockStatus, Df],
    [BlockStatus, FastZero],
  ];
  const payload = Buffer.alloc(4096, WRONG_BYTE);
  const compact: readonly HeaderStyle[] = ['simple', 'structured'];
  return [
    ...pairs.map(([command, flags]) => ({
      name: `flag ${flags} of command ${command}`,
      request: { command, flags, length: 512 },
      errno: NbdErrno.EINVAL,
    })),
    ...[NoHole, Df, ReqOne, FastZero].map((flags) => ({
      name: `flag ${flags} of a write`,
      request: { command: Write, flags, payload },
      errno: NbdErrno.EINVAL,
    })),
    {
      name: 'DF without structured replies',
      request: { command: Read, flags: Df, length: 512 },
      errno: NbdErrno.EINVAL,
      only: ['simple'],
    },
    {
      name: 'PAYLOAD_LEN of a read with a compact header',
      request: { command: Read, flags: PayloadLen, length: 512 },
      errno: NbdErrno.EINVAL,
      only: compact,
    },
    {
      name: 'PAYLOAD_LEN of a write with a compact header',
      request: { command: Write, flags: PayloadLen, payload },
      errno: NbdErrno.EINVAL,
      only: compact,
    },
  ];
}
