import { mapShared } from './mman.js';
import type { OpenedFile } from './opened-file.js';

/** What to map, from byte 0 on. */
export interface WholeFile extends OpenedFile {
  readonly length: number;
}

/**
 * Maps a whole file, shared, for system calls alone: what is given is an address, and no
 * memory that JavaScript could touch. `munmap` ends it.
 *
 * @throws DaxdError with the errno of mmap(2): ENOMEM, EACCES and so on.
 */
export function mapWhole(
  { path, fd, length }: WholeFile,
  { readOnly }: { readonly readOnly: boolean },
): number {
  return mapShared({ fd, offset: 0, length, readOnly }, `${path}, all ${length} bytes`);
}
