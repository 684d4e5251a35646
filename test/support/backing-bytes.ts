import type { Backing } from '../../src/media/backing.js';

/** All that a backing holds, as it is now. */
export function bytesOf({ mapping, sizeBytes }: Backing): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  mapping.read(0, bytes);
  return bytes;
}
