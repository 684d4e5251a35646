import type { ByteStream } from './byte-stream.js';
import {
  ChunkType,
  EXTENDED_REPLY_MAGIC,
  EXTENDED_REQUEST_MAGIC,
  REPLY_FLAG_DONE,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from './protocol.js';

/** How requests and replies look, by what was negotiated. */
export type HeaderStyle = 'simple' | 'structured' | 'extended';

/** A request; what is left out is zero or empty. */
export interface Request {
  readonly command: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: bigint | number;
  /** Left out: the length of the payload. */
  readonly length?: bigint | number;
  readonly payload?: Uint8Array;
}

/** A request as it goes over the wire; fields are sent as given, however wrong. */
export function encodeRequest(style: HeaderStyle, request: Request): Buffer {
  const { command, flags = 0, cookie = 0n, offset = 0, payload = Buffer.alloc(0) } = request;
  const length = BigInt(request.length ?? payload.length);
  const extended = style === 'extended';
  const header = Buffer.alloc(extended ? 32 : 28);
  header.writeUInt32BE(extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC, 0);
  header.writeUInt16BE(flags, 4);
  header.writeUInt16BE(command, 6);
  header.writeBigUInt64BE(cookie, 8);
  header.writeBigUInt64BE(BigInt(offset), 16);
  if (extended) header.writeBigUInt64BE(length, 24);
  else header.writeUInt32BE(Number(length), 24);
  return payload.length === 0 ? header : Buffer.concat([header, payload]);
}

/** One message of the server: a simple reply, or one chunk of a longer one. */
export interface Chunk {
  readonly style: HeaderStyle;
  readonly done: boolean;
  readonly type: number;
  readonly cookie: bigint;
  /** Of a simple reply alone: the chunks carry theirs in the payload. */
  readonly error: number;
  /** Of an extended reply alone: that of its request. */
  readonly offset: bigint | undefined;
  readonly payload: Buffer;
}

/**
 * Waits for one message.
 *
 * @param dataLength how many bytes follow a simple reply to the request with this cookie.
 */
export async function readChunk(
  stream: ByteStream,
  dataLength: (cookie: bigint) => number,
): Promise<Chunk> {
  const magic = (await stream.read(4)).readUInt32BE(0);
  if (magic === SIMPLE_REPLY_MAGIC) return readSimple(stream, dataLength);
  if (magic === STRUCTURED_REPLY_MAGIC) return readStructured(stream);
  if (magic === EXTENDED_REPLY_MAGIC) return readExtended(stream);
  throw new Error(`a reply begins with ${magic.toString(16)}`);
}

async function readSimple(
  stream: ByteStream,
  dataLength: (cookie: bigint) => number,
): Promise<Chunk> {
  const header = await stream.read(12);
  const error = header.readUInt32BE(0);
  const cookie = header.readBigUInt64BE(4);
  const payload = await stream.read(error === 0 ? dataLength(cookie) : 0);
  const type = ChunkType.None;
  return { style: 'simple', done: true, type, cookie, error, offset: undefined, payload };
}

async function readStructured(stream: ByteStream): Promise<Chunk> {
  const header = await stream.read(16);
  return {
    style: 'structured',
    done: isDone(header),
    type: header.readUInt16BE(2),
    cookie: header.readBigUInt64BE(4),
    error: 0,
    offset: undefined,
    payload: await stream.read(header.readUInt32BE(12)),
  };
}

async function readExtended(stream: ByteStream): Promise<Chunk> {
  const header = await stream.read(28);
  return {
    style: 'extended',
    done: isDone(header),
    type: header.readUInt16BE(2),
    cookie: header.readBigUInt64BE(4),
    error: 0,
    offset: header.readBigUInt64BE(12),
    payload: await stream.read(Number(header.readBigUInt64BE(20))),
  };
}

function isDone(header: Buffer): boolean {
  const flags = header.readUInt16BE(0);
  if ((flags & ~REPLY_FLAG_DONE) !== 0) throw new Error(`a chunk has the unknown flags ${flags}`);
  return flags === REPLY_FLAG_DONE;
}
