/**
 * Numbers of the NBD protocol, written down from its specification and not from the product,
 * which is judged by them.
 */
export const NBD_MAGIC = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const EXTENDED_REPLY_MAGIC = 0x6e8a278c;

/** Flags of the server's greeting. */
export const HandshakeFlag = { FixedNewstyle: 1, NoZeroes: 2 } as const;
/** Flags of the client's answer to it. */
export const ClientFlag = { FixedNewstyle: 1, NoZeroes: 2 } as const;

/** Options of the handshake. */
export const Option = {
  ExportName: 1,
  Abort: 2,
  List: 3,
  PeekExport: 4,
  StartTls: 5,
  Info: 6,
  Go: 7,
  StructuredReply: 8,
  ListMetaContext: 9,
  SetMetaContext: 10,
  ExtendedHeaders: 11,
} as const;

/** Types of the replies to options; bit 31 marks errors. */
export const OptionReplyType = {
  Ack: 1,
  Server: 2,
  Info: 3,
  MetaContext: 4,
  ErrUnsup: 2 ** 31 + 1,
  ErrPolicy: 2 ** 31 + 2,
  ErrInvalid: 2 ** 31 + 3,
  ErrPlatform: 2 ** 31 + 4,
  ErrTlsReqd: 2 ** 31 + 5,
  ErrUnknown: 2 ** 31 + 6,
  ErrShutdown: 2 ** 31 + 7,
  ErrBlockSizeReqd: 2 ** 31 + 8,
  ErrTooBig: 2 ** 31 + 9,
  ErrExtHeaderReqd: 2 ** 31 + 10,
} as const;

/** Items of information about an export. */
export const Info = { Export: 0, Name: 1, Description: 2, BlockSize: 3 } as const;

/** What an export can do. */
export const TransmissionFlag = {
  HasFlags: 1 << 0,
  ReadOnly: 1 << 1,
  SendFlush: 1 << 2,
  SendFua: 1 << 3,
  Rotational: 1 << 4,
  SendTrim: 1 << 5,
  SendWriteZeroes: 1 << 6,
  SendDf: 1 << 7,
  CanMultiConn: 1 << 8,
  SendResize: 1 << 9,
  SendCache: 1 << 10,
  SendFastZero: 1 << 11,
  BlockStatusPayload: 1 << 12,
} as const;

/** Types of requests. */
export const Command = {
  Read: 0,
  Write: 1,
  Disc: 2,
  Flush: 3,
  Trim: 4,
  Cache: 5,
  WriteZeroes: 6,
  BlockStatus: 7,
  Resize: 8,
} as const;

/** Flags of a request. */
export const CommandFlag = {
  Fua: 1 << 0,
  NoHole: 1 << 1,
  Df: 1 << 2,
  ReqOne: 1 << 3,
  FastZero: 1 << 4,
  PayloadLen: 1 << 5,
} as const;

/** Of a chunk: the last one of its reply. */
export const REPLY_FLAG_DONE = 1;

/** Types of the chunks of a reply; bit 15 marks errors. */
export const ChunkType = {
  None: 0,
  OffsetData: 1,
  OffsetHole: 2,
  BlockStatus: 5,
  BlockStatusExt: 6,
  Error: 2 ** 15 + 1,
  ErrorOffset: 2 ** 15 + 2,
} as const;

/** The protocol's own error numbers. */
export const NbdErrno = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

/** Bits of the context base:allocation. */
export const AllocationState = { Hole: 1, Zero: 2 } as const;
