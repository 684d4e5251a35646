import { PAGE_SIZE } from '../lib/units.js';
import type { ExportAccess } from './export-access.js';
import { type MetaContext, metaContextId } from './meta-contexts.js';
import type { Session } from './negotiation.js';
import { LEASE_PINNED, NbdCmdFlag, NbdReplyType, NbdState } from './protocol.js';
import type { StatusChunk } from './reply-batch.js';
import type { Request } from './request.js';

/** A run of bytes that are alike. */
interface Extent {
  readonly length: number;
  readonly flags: number;
}

/** What is asked: a range of the export, in bytes, and whether one extent is enough. */
interface StatusRequest {
  readonly offset: number;
  readonly length: number;
  readonly one: boolean;
}

/** Extents of one chunk; a client asks on where a chunk ends. */
const EXTENTS_MAX = 1024;

/** The largest payload of a chunk that {@link statusChunks} makes. */
export const STATUS_PAYLOAD_BYTES_MAX = 8 + EXTENTS_MAX * 16;

/**
 * What answers a checked BLOCK_STATUS: for each context that was agreed on a chunk, with its
 * extents from the offset on. All are made before the first is sent, behind which no error could
 * follow.
 *
 * @throws DaxdError with the errno of lseek(2); EIO where the backing ends before.
 */
export function statusChunks(
  request: Request,
  access: ExportAccess,
  { contexts, style }: Session,
): StatusChunk[] {
  const { offset, length } = request;
  const asked = { offset, length, one: request.has(NbdCmdFlag.ReqOne) };
  const isExtended = style === 'extended';
  const type = isExtended ? NbdReplyType.BlockStatusExt : NbdReplyType.BlockStatus;
  return contexts.map((context, i) => {
    const extents = [...coalesced(extentsOf(access, context, asked), asked)];
    const payload = isExtended
      ? extendedPayload(context, extents)
      : compactPayload(context, extents);
    return { type, payload, isLast: i === contexts.length - 1 };
  });
}

function extentsOf(
  access: ExportAccess,
  context: MetaContext,
  request: StatusRequest,
): Iterable<Extent> {
  return context === 'daxd:lease' ? pinExtents(access, request) : holeExtents(access, request);
}

/** Merges neighbours that are alike, and stops at what one chunk holds. */
function* coalesced(extents: Iterable<Extent>, { one }: StatusRequest): Generator<Extent> {
  const max = one ? 1 : EXTENTS_MAX;
  let last: Extent | undefined;
  let given = 0;
  for (const extent of extents) {
    if (last?.flags === extent.flags) {
      last = { length: last.length + extent.length, flags: last.flags };
      continue;
    }
    if (last !== undefined) {
      yield last;
      if (++given === max) return;
    }
    last = extent;
  }
  if (last !== undefined) yield last;
}

/** `base:allocation`: a sparse backing says where its holes are; an allocated one has none. */
function* holeExtents(access: ExportAccess, { offset, length }: StatusRequest): Generator<Extent> {
  const { raw, start } = access;
  if (!raw.memory.sparse) {
    yield { length, flags: 0 };
    return;
  }
  const end = start + offset + length;
  for (let at = start + offset; at < end;) {
    const found = raw.seekData(at);
    // Behind the end of a file that shrank is no data either, but no zeros.
    if (found === undefined) raw.checkEnd(end);
    const data = Math.min(end, found ?? end);
    if (data > at) yield { length: data - at, flags: NbdState.Hole | NbdState.Zero };
    if (data === end) return;
    const hole = Math.min(end, raw.seekHole(data) ?? end);
    if (hole > data) yield { length: hole - data, flags: 0 };
    at = hole;
  }
}

/** `daxd:lease`: runs of pages that somebody pins. */
function* pinExtents(access: ExportAccess, { offset, length }: StatusRequest): Generator<Extent> {
  const { pages, pagesOffset } = access;
  if (pages === undefined) return;
  let at = pagesOffset + offset;
  const end = at + length;
  const firstPage = Math.floor(at / PAGE_SIZE);
  // Pages are pinned and put while this looks: each counts as it was seen.
  for (const run of pages.runs(firstPage, Math.ceil(end / PAGE_SIZE) - firstPage)) {
    const stop = Math.min(end, (run.first + run.count) * PAGE_SIZE);
    yield { length: stop - at, flags: run.isPinned ? LEASE_PINNED : 0 };
    at = stop;
  }
}

function compactPayload(context: MetaContext, extents: readonly Extent[]): Buffer {
  const payload = Buffer.alloc(4 + extents.length * 8);
  payload.writeUInt32BE(metaContextId(context), 0);
  for (const [i, { length, flags }] of extents.entries()) {
    payload.writeUInt32BE(length, 4 + i * 8);
    payload.writeUInt32BE(flags, 8 + i * 8);
  }
  return payload;
}

function extendedPayload(context: MetaContext, extents: readonly Extent[]): Buffer {
  const payload = Buffer.alloc(8 + extents.length * 16);
  payload.writeUInt32BE(metaContextId(context), 0);
  payload.writeUInt32BE(extents.length, 4);
  for (const [i, { length, flags }] of extents.entries()) {
    payload.writeBigUInt64BE(BigInt(length), 8 + i * 16);
    payload.writeBigUInt64BE(BigInt(flags), 16 + i * 16);
  }
  return payload;
}
