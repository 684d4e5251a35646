import type { ByteStream } from './byte-stream.js';
import { Info, OPTION_MAGIC, OPTION_REPLY_MAGIC, OptionReplyType } from './protocol.js';

/** One reply to an option. */
export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly payload: Buffer;
}

/** An option as it goes over the wire. */
export function encodeOption(option: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(16);
  header.writeBigUInt64BE(OPTION_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(payload.length, 12);
  return Buffer.concat([header, payload]);
}

/** Payload of INFO and GO. */
export function encodeInfoRequest(name: string, items: readonly number[] = []): Buffer {
  const bytes = Buffer.from(name);
  const tail = Buffer.alloc(2 + 2 * items.length);
  tail.writeUInt16BE(items.length, 0);
  for (const [index, item] of items.entries()) tail.writeUInt16BE(item, 2 + 2 * index);
  return Buffer.concat([u32(bytes.length), bytes, tail]);
}

/** Payload of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function encodeContextRequest(name: string, queries: readonly string[]): Buffer {
  const strings = [name, ...queries].map((text) => {
    const bytes = Buffer.from(text);
    return Buffer.concat([u32(bytes.length), bytes]);
  });
  const [first = Buffer.alloc(0), ...rest] = strings;
  return Buffer.concat([first, u32(queries.length), ...rest]);
}

/** Waits for one reply. */
export async function readOptionReply(stream: ByteStream): Promise<OptionReply> {
  const header = await stream.read(20);
  const magic = header.readBigUInt64BE(0);
  if (magic !== OPTION_REPLY_MAGIC)
    throw new Error(`a reply begins with ${header.toString('hex')}`);
  const length = header.readUInt32BE(16);
  return {
    option: header.readUInt32BE(8),
    type: header.readUInt32BE(12),
    payload: await stream.read(length),
  };
}

/** Whether no further reply to the same option comes after this one. */
export function isFinal({ type }: OptionReply): boolean {
  return type === OptionReplyType.Ack || type >= 2 ** 31;
}

/** An export as LIST names it. */
export interface ListedExport {
  readonly name: string;
  readonly description: string;
}

/** What the replies of type SERVER say. */
export function listedExports(replies: readonly OptionReply[]): ListedExport[] {
  return replies
    .filter(({ type }) => type === OptionReplyType.Server)
    .map(({ payload }) => {
      const end = 4 + payload.readUInt32BE(0);
      if (end > payload.length) throw new Error('a name is longer than its reply');
      return {
        name: payload.toString('utf8', 4, end),
        description: payload.toString('utf8', end),
      };
    });
}

/** What is known of an export after INFO or GO; absent where the server did not say. */
export interface ExportInfo {
  readonly size?: number;
  readonly flags?: number;
  readonly name?: string;
  readonly description?: string;
  readonly blockSizes?: readonly [minimum: number, preferred: number, maximumPayload: number];
}

/** What the replies of type INFO say. */
export function exportInfo(replies: readonly OptionReply[]): ExportInfo {
  const infos = replies.filter(({ type }) => type === OptionReplyType.Info);
  return Object.assign({}, ...infos.map(({ payload }) => infoItem(payload))) as ExportInfo;
}

function infoItem(payload: Buffer): ExportInfo {
  const item = payload.readUInt16BE(0);
  if (item === Info.Export) {
    expectLength(payload, 12);
    return { size: Number(payload.readBigUInt64BE(2)), flags: payload.readUInt16BE(10) };
  }
  if (item === Info.Name) return { name: payload.toString('utf8', 2) };
  if (item === Info.Description) return { description: payload.toString('utf8', 2) };
  if (item !== Info.BlockSize) throw new Error(`information of the unknown kind ${item}`);
  expectLength(payload, 14);
  const at = (offset: number): number => payload.readUInt32BE(offset);
  return { blockSizes: [at(2), at(6), at(10)] };
}

function expectLength(payload: Buffer, length: number): void {
  if (payload.length !== length) throw new Error(`information of ${payload.length} bytes`);
}

/** A context as the server names it. */
export interface MetaContext {
  readonly id: number;
  readonly name: string;
}

/** What the replies of type META_CONTEXT say. */
export function metaContexts(replies: readonly OptionReply[]): MetaContext[] {
  return replies
    .filter(({ type }) => type === OptionReplyType.MetaContext)
    .map(({ payload }) => ({ id: payload.readUInt32BE(0), name: payload.toString('utf8', 4) }));
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
