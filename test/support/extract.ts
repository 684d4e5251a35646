import { writeFileSync } from 'node:fs';

import { bytesAt } from './bytes-at.js';

/** Copies a partition, [offset, length] in bytes, out of its image to a file of its own; its path. */
export function extract(image: string, [offset, length]: [number, number], to: string): string {
  writeFileSync(to, bytesAt(image, offset, length));
  return to;
}
