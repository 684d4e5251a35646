import type { NbdCounters } from './nbd-counters.js';
import type { ExportAccess } from './export-access.js';
import { nbdErrorOf } from './nbd-errno.js';
import { NbdCmd, NbdCmdFlag, NbdError } from './protocol.js';
import type { Request } from './request.js';

/**
 * Does a request that moves no payload and was checked: FLUSH, TRIM, CACHE, WRITE_ZEROES. It
 * blocks, and with FUA, or as FLUSH, until what it is about is durable.
 */
export function runCommand(
  request: Request,
  access: ExportAccess,
  counters: NbdCounters,
): NbdError {
  try {
    perform(request, access, counters);
    return NbdError.None;
  } catch (failure) {
    return nbdErrorOf(failure);
  }
}

function perform(request: Request, access: ExportAccess, counters: NbdCounters): void {
  const { offset, length } = request;
  switch (request.type) {
    case NbdCmd.Flush:
      access.flush();
      return;
    case NbdCmd.Cache:
      access.willNeed(offset, length);
      return;
    case NbdCmd.Trim:
      counters.countTrimSkipped(access.trim(offset, length));
      break;
    case NbdCmd.WriteZeroes:
      access.writeZeroes(offset, length, {
        hole: !request.has(NbdCmdFlag.NoHole),
        fast: request.has(NbdCmdFlag.FastZero),
      });
      break;
  }
  if (request.has(NbdCmdFlag.Fua)) access.persist(offset, length);
}

/**
 * Makes a write durable whose payload is in its place, where it must be before it is answered:
 * with FUA, and where each store is made durable by the thread that made it.
 */
export function persistWrite(request: Request, access: ExportAccess): NbdError {
  if (!request.has(NbdCmdFlag.Fua) && !access.raw.persistsEachStore) return NbdError.None;
  try {
    access.persist(request.offset, request.length);
    return NbdError.None;
  } catch (failure) {
    return nbdErrorOf(failure);
  }
}
