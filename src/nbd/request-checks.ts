import type { Session } from './negotiation.js';
import {
  BLOCK_SIZE,
  NbdCmd,
  NbdCmdFlag,
  NbdError,
  PAYLOAD_DRAINED_MAX,
  type ReplyStyle,
} from './protocol.js';
import type { Request } from './request.js';

/** What a request is checked against; the same for all of a connection. */
export interface RequestRules {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly style: ReplyStyle;
  /** Whether BLOCK_STATUS has anything to report. */
  readonly hasContexts: boolean;
}

/** The rules of a connection, by what was agreed on. */
export function rulesOf({ style, contexts, export: { info } }: Session): RequestRules {
  const { sizeBytes, readOnly } = info;
  return { sizeBytes, readOnly, style, hasContexts: contexts.length > 0 };
}

/** Flags that a command may carry, by its number; all may carry FUA. */
const FLAGS: readonly number[] = [
  NbdCmdFlag.Fua | NbdCmdFlag.Df,
  NbdCmdFlag.Fua,
  NbdCmdFlag.Fua,
  NbdCmdFlag.Fua,
  NbdCmdFlag.Fua,
  NbdCmdFlag.Fua,
  NbdCmdFlag.Fua | NbdCmdFlag.NoHole | NbdCmdFlag.FastZero,
  NbdCmdFlag.Fua | NbdCmdFlag.ReqOne,
];

/**
 * Why a request is refused before anything is done; `None` when it is not.
 *
 * @hot Once a request.
 */
export function refusalOf(request: Request, rules: RequestRules): NbdError {
  const flags = FLAGS[request.type];
  if (flags === undefined || (request.flags & ~allowedFlags(request, rules, flags)) !== 0) {
    return NbdError.EINVAL;
  }
  if (request.type === NbdCmd.Flush || request.type === NbdCmd.Disc) return NbdError.None;
  const writes = isWrite(request.type);
  if (writes && rules.readOnly) return NbdError.EPERM;
  if (request.offset + request.length > rules.sizeBytes) {
    return writes && request.type !== NbdCmd.Trim ? NbdError.ENOSPC : NbdError.EINVAL;
  }
  return refusalOfKind(request, rules);
}

/**
 * Why nobody can go on behind a refused request; undefined where its payload can be taken off the
 * wire, to go nowhere.
 */
export function payloadBreach(request: Request): string | undefined {
  const { payloadBytes } = request;
  if (payloadBytes <= PAYLOAD_DRAINED_MAX) return undefined;
  return `a payload of ${payloadBytes} bytes is read by nobody`;
}

/** @hot Once a request. */
function allowedFlags(request: Request, { style }: RequestRules, flags: number): number {
  if (request.type === NbdCmd.Read && style === 'simple') return flags & ~NbdCmdFlag.Df;
  // In the compact form the bit does not exist; the others never carry a payload here.
  const isExtendedWrite = style === 'extended' && request.type === NbdCmd.Write;
  return isExtendedWrite ? flags | NbdCmdFlag.PayloadLen : flags;
}

/** @hot Once a request. */
function refusalOfKind(request: Request, { style, hasContexts }: RequestRules): NbdError {
  switch (request.type) {
    case NbdCmd.Read:
      if (request.length <= BLOCK_SIZE.payloadMax) return NbdError.None;
      return request.has(NbdCmdFlag.Df) ? NbdError.EOVERFLOW : NbdError.EINVAL;
    case NbdCmd.Write:
      if (style === 'extended' && !request.has(NbdCmdFlag.PayloadLen)) return NbdError.EINVAL;
      return request.length <= BLOCK_SIZE.payloadMax ? NbdError.None : NbdError.EINVAL;
    case NbdCmd.BlockStatus:
      // An extent cannot be empty, so nothing can be said of no bytes.
      return hasContexts && request.length > 0 ? NbdError.None : NbdError.EINVAL;
    default:
      return NbdError.None;
  }
}

/** @hot Once a request. */
function isWrite(type: number): boolean {
  return type === NbdCmd.Write || type === NbdCmd.Trim || type === NbdCmd.WriteZeroes;
}

/** Whether the data of a read may come in several chunks. @hot Once a large read. */
export function mayPart(request: Request, style: ReplyStyle): boolean {
  return style !== 'simple' && !request.has(NbdCmdFlag.Df);
}
