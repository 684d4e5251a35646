/**
 * Numbers of the NBD protocol, under its own names: doc/proto.md of NetworkBlockDevice/nbd, and
 * its branch extension-ext-header for extended headers. All fields on the wire are big-endian.
 */

/** What a server says first: the two magics of the fixed newstyle handshake. */
export const NBD_MAGIC = 0x4e42444d41474943n;
export const IHAVEOPT = 0x49484156454f5054n;
export const NBD_REP_MAGIC = 0x3e889045565a9n;

/** Handshake flags of the server and of the client; the bits are the same. */
export const HandshakeFlag = { FixedNewstyle: 1, NoZeroes: 2 } as const;

/** Options of a client during the handshake. */
export const NbdOpt = {
  ExportName: 1,
  Abort: 2,
  List: 3,
  StartTls: 5,
  Info: 6,
  Go: 7,
  StructuredReply: 8,
  ListMetaContext: 9,
  SetMetaContext: 10,
  ExtendedHeaders: 11,
} as const;

/** Replies to options. */
export const NbdRep = {
  Ack: 1,
  Server: 2,
  Info: 3,
  MetaContext: 4,
  ErrUnsup: 2 ** 31 + 1,
  ErrPolicy: 2 ** 31 + 2,
  ErrInvalid: 2 ** 31 + 3,
  ErrTlsReqd: 2 ** 31 + 5,
  ErrUnknown: 2 ** 31 + 6,
  ErrShutdown: 2 ** 31 + 7,
  ErrTooBig: 2 ** 31 + 9,
  ErrExtHeaderReqd: 2 ** 31 + 10,
} as const;

/** What INFO and GO tell about an export. */
export const NbdInfo = { Export: 0, Name: 1, Description: 2, BlockSize: 3 } as const;

/** What an export can do. */
export const NbdFlag = {
  HasFlags: 1,
  ReadOnly: 2,
  SendFlush: 4,
  SendFua: 8,
  SendTrim: 32,
  SendWriteZeroes: 64,
  SendDf: 128,
  CanMultiConn: 256,
  SendCache: 1024,
  SendFastZero: 2048,
} as const;

/** Requests of the transmission phase. */
export const NbdCmd = {
  Read: 0,
  Write: 1,
  Disc: 2,
  Flush: 3,
  Trim: 4,
  Cache: 5,
  WriteZeroes: 6,
  BlockStatus: 7,
} as const;

/** Flags of a request. */
export const NbdCmdFlag = {
  Fua: 1,
  NoHole: 2,
  Df: 4,
  ReqOne: 8,
  FastZero: 16,
  PayloadLen: 32,
} as const;

/** Types of the chunks that structured and extended replies are made of. */
export const NbdReplyType = {
  None: 0,
  OffsetData: 1,
  BlockStatus: 5,
  BlockStatusExt: 6,
  Error: 2 ** 15 + 1,
  ErrorOffset: 2 ** 15 + 2,
} as const;

export const NBD_REPLY_FLAG_DONE = 1;

export const NBD_REQUEST_MAGIC = 0x25609513;
/** How replies are framed, as the client asked; requests have long headers where it is `extended`. */
export type ReplyStyle = 'simple' | 'structured' | 'extended';

export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const NBD_EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const NBD_EXTENDED_REPLY_MAGIC = 0x6e8a278c;

export const COMPACT_REQUEST_BYTES = 28;
export const EXTENDED_REQUEST_BYTES = 32;
export const SIMPLE_REPLY_BYTES = 16;
export const STRUCTURED_REPLY_BYTES = 20;
export const EXTENDED_REPLY_BYTES = 32;

/** The error numbers of the wire, which are not the host's. 0 is success. */
export const NbdError = {
  None: 0,
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;
/** A value of {@link NbdError}. */
export type NbdError = (typeof NbdError)[keyof typeof NbdError];

/** What `base:allocation` says of an extent. */
export const NbdState = { Hole: 1, Zero: 2 } as const;

/** What `daxd:lease` says of an extent: a lease, or anybody else, pins its pages. */
export const LEASE_PINNED = 1;

/** Names of exports, contexts and messages are no longer than this (section "Conventions"). */
export const STRING_BYTES_MAX = 4096;

/** The block sizes that are announced, in bytes: the protocol's own defaults. */
export const BLOCK_SIZE = { minimum: 1, preferred: 4096, payloadMax: 32 * 1024 * 1024 } as const;

/**
 * A payload beyond what is announced is read off the wire and refused; one beyond this ends
 * the connection.
 */
export const PAYLOAD_DRAINED_MAX = 2 * BLOCK_SIZE.payloadMax;
