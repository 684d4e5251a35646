import { DaxdError } from '../lib/errno.js';
import { mapThroughLibc } from './map-through-libc.js';
import { Mapping, WINDOW_BYTES } from './mapping.js';
import { MMAP_IO_END_MAX, mapThroughMmapIo } from './mmap-io.js';
import type { WindowRequest } from './window.js';

/** What to map of an open file or device. */
export interface MapRequest {
  /** For messages. */
  readonly path: string;
  /** Windows are mapped through it for as long as it is open; its `fd` is -1 afterwards. */
  readonly handle: { readonly fd: number };
  /** From byte 0; a multiple of what the file or device aligns its mappings to. */
  readonly length: number;
  readonly readOnly: boolean;
}

/**
 * Maps the first `length` bytes, shared, in windows: through mmap-io those that it can, the
 * rest through libc. The first window is mapped here, so that what cannot be mapped at all is
 * refused here; each other one when it is first touched, and that throws EIO, or ENOMEM.
 *
 * @throws DaxdError with the errno of mmap(2); what was mapped is unmapped when collected.
 */
export function mapWindows(request: MapRequest): Mapping {
  const { length: lengthBytes, readOnly } = request;
  const mapWindow = (offset: number, length: number): Buffer =>
    offset === 0 ? mapNow(request, offset, length) : mapLate(request, offset, length);
  const mapping = new Mapping({ windows: { lengthBytes, mapWindow }, readOnly });
  mapping.view(0, Math.min(WINDOW_BYTES, lengthBytes));
  return mapping;
}

function mapNow({ path, handle, readOnly }: MapRequest, offset: number, length: number): Buffer {
  const request: WindowRequest = { path, fd: handle.fd, offset, length, readOnly };
  const isSmall = offset + length <= MMAP_IO_END_MAX;
  return isSmall ? mapThroughMmapIo(request) : mapThroughLibc(request);
}

/** For whoever touches it an errno of mmap would be a riddle: to them the media failed. */
function mapLate(request: MapRequest, offset: number, length: number): Buffer {
  const window = `window [${offset}, ${offset + length}) of ${request.path}`;
  // The number of a closed file may be another file's by now.
  if (request.handle.fd < 0) {
    throw new DaxdError('EIO', `${window} was never looked at, and the backing is closed`);
  }
  try {
    return mapNow(request, offset, length);
  } catch (cause) {
    if (!(cause instanceof DaxdError)) throw cause;
    const code = cause.code === 'ENOMEM' ? 'ENOMEM' : 'EIO';
    const advice = 'see vm.max_map_count and the limit of address space (ulimit -v)';
    throw new DaxdError(code, `${window} cannot be mapped: ${cause.message}; ${advice}`, { cause });
  }
}
