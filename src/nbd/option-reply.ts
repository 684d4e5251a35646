import { BLOCK_SIZE, NBD_REP_MAGIC, NbdInfo, NbdRep } from './protocol.js';

const HEADER_BYTES = 20;

/** One reply to an option: magic, the option, the type, and its data behind a length. */
export function optionReply(option: number, type: number, ...data: readonly Buffer[]): Buffer {
  const length = data.reduce((total, part) => total + part.length, 0);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeBigUInt64BE(NBD_REP_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(length, 16);
  return Buffer.concat([header, ...data]);
}

/** A refusal, with a sentence for whoever runs the client. */
export function optionError(option: number, type: number, message: string): Buffer {
  return optionReply(option, type, Buffer.from(message, 'utf8'));
}

/** One export in the answer to LIST. */
export function serverReply(option: number, name: string, description: string): Buffer {
  const nameBytes = Buffer.from(name, 'utf8');
  return optionReply(
    option,
    NbdRep.Server,
    uint32(nameBytes.length),
    nameBytes,
    Buffer.from(description, 'utf8'),
  );
}

/** Size and flags, as INFO and GO tell them. */
export function infoExport(option: number, size: number, flags: number): Buffer {
  return optionReply(option, NbdRep.Info, uint16(NbdInfo.Export), sizeAndFlags(size, flags));
}

/** The name or the description of an export. */
export function infoText(option: number, type: number, text: string): Buffer {
  return optionReply(option, NbdRep.Info, uint16(type), Buffer.from(text, 'utf8'));
}

/** The block sizes; they are the same for every export. */
export function infoBlockSize(option: number): Buffer {
  return optionReply(
    option,
    NbdRep.Info,
    uint16(NbdInfo.BlockSize),
    uint32(BLOCK_SIZE.minimum),
    uint32(BLOCK_SIZE.preferred),
    uint32(BLOCK_SIZE.payloadMax),
  );
}

/** One metadata context; its id counts in the answer to SET alone. */
export function metaContextReply(option: number, id: number, context: string): Buffer {
  return optionReply(option, NbdRep.MetaContext, uint32(id), Buffer.from(context, 'utf8'));
}

/** Size (64 bits) and transmission flags: the body of the answer to EXPORT_NAME too. */
export function sizeAndFlags(size: number, flags: number): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeBigUInt64BE(BigInt(size), 0);
  bytes.writeUInt16BE(flags, 8);
  return bytes;
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
