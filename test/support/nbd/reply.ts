import type { Chunk } from './message.js';
import { ChunkType } from './protocol.js';

/** A stretch of an export and its state in one context. */
export interface Extent {
  readonly length: number;
  readonly status: number;
}

/** All of the reply to one request. */
export class Reply {
  readonly cookie: bigint;
  readonly chunks: readonly Chunk[];

  /** @param chunks at least one, all with the same cookie; the last one is the last. */
  constructor(chunks: readonly Chunk[]) {
    const [first] = chunks;
    if (first === undefined) throw new Error('a reply has at least one chunk');
    this.cookie = first.cookie;
    this.chunks = chunks;
  }

  /** The protocol's number of the error; 0 for none. */
  get error(): number {
    for (const { type, error, payload } of this.chunks) {
      if (error !== 0) return error;
      if (type >= ChunkType.Error) return payload.readUInt32BE(0);
    }
    return 0;
  }

  /** What the server says for a human; empty without a word. */
  get message(): string {
    const chunk = this.chunks.find(({ type }) => type >= ChunkType.Error);
    if (chunk === undefined) return '';
    const length = chunk.payload.readUInt16BE(4);
    if (6 + length > chunk.payload.length) throw new Error('a message is longer than its chunk');
    return chunk.payload.toString('utf8', 6, 6 + length);
  }

  /** The bytes that a read got, put together from its chunks; each byte must come just once. */
  data(offset: number, length: number): Buffer {
    const [first] = this.chunks;
    if (first?.style === 'simple') return first.payload;
    const data = Buffer.alloc(length);
    let covered = 0;
    for (const chunk of this.chunks) {
      const [from, bytes] = content(chunk) ?? [offset, Buffer.alloc(0)];
      const at = from - offset;
      if (at < 0 || at + bytes.length > length) throw new Error('a chunk lies out of its request');
      bytes.copy(data, at);
      covered += bytes.length;
    }
    if (covered !== length) throw new Error(`the chunks hold ${covered} bytes, not ${length}`);
    return data;
  }

  /** The extents of a reply to BLOCK_STATUS, by the number of the context. */
  extents(): Map<number, Extent[]> {
    const contexts = new Map<number, Extent[]>();
    for (const { type, payload } of this.chunks) {
      if (type !== ChunkType.BlockStatus && type !== ChunkType.BlockStatusExt) continue;
      const id = payload.readUInt32BE(0);
      if (contexts.has(id)) throw new Error(`two chunks for the context ${id}`);
      contexts.set(id, type === ChunkType.BlockStatus ? extents32(payload) : extents64(payload));
    }
    return contexts;
  }
}

function content({ type, payload }: Chunk): [number, Buffer] | undefined {
  if (type === ChunkType.OffsetData) {
    return [Number(payload.readBigUInt64BE(0)), payload.subarray(8)];
  }
  if (type !== ChunkType.OffsetHole) return undefined;
  return [Number(payload.readBigUInt64BE(0)), Buffer.alloc(payload.readUInt32BE(8))];
}

function extents32(payload: Buffer): Extent[] {
  const count = (payload.length - 4) / 8;
  if (!Number.isInteger(count) || count < 1) throw new Error(`status of ${payload.length} bytes`);
  return Array.from({ length: count }, (_, index) => ({
    length: payload.readUInt32BE(4 + 8 * index),
    status: payload.readUInt32BE(8 + 8 * index),
  }));
}

function extents64(payload: Buffer): Extent[] {
  const count = payload.readUInt32BE(4);
  if (count < 1 || payload.length !== 8 + 16 * count) {
    throw new Error(`${count} extents in ${payload.length} bytes`);
  }
  return Array.from({ length: count }, (_, index) => ({
    length: Number(payload.readBigUInt64BE(8 + 16 * index)),
    status: Number(payload.readBigUInt64BE(16 + 16 * index)),
  }));
}
