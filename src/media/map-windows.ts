import { mapThroughLibc } from './libc.js';
import { Mapping, WINDOW_BYTES } from './mapping.js';
import { MMAP_IO_END_MAX, mapThroughMmapIo } from './mmap-io.js';

/** What to map of an open file or device. */
export interface MapRequest {
  /** For messages. */
  readonly path: string;
  readonly fd: number;
  /** From byte 0; a multiple of what the file or device aligns its mappings to. */
  readonly length: number;
  readonly readOnly: boolean;
}

/**
 * Maps the first `length` bytes, shared, in windows: through mmap-io those that it can, the
 * rest through libc. `fd` may be closed afterwards.
 *
 * @throws DaxdError with the errno of mmap(2); what was mapped is unmapped when collected.
 */
export function mapWindows({ path, fd, length, readOnly }: MapRequest): Mapping {
  const windows: Buffer[] = [];
  for (let offset = 0; offset < length; offset += WINDOW_BYTES) {
    const request = { path, fd, offset, length: Math.min(WINDOW_BYTES, length - offset), readOnly };
    const end = offset + request.length;
    windows.push(end <= MMAP_IO_END_MAX ? mapThroughMmapIo(request) : mapThroughLibc(request));
  }
  return new Mapping({ windows, readOnly });
}
