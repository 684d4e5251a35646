import { crc32 } from 'node:zlib';

import type { BackingRange } from '../../../src/media/backing-range.js';

/** Changes the GPT header at `lba` and makes its checksum right again. */
export function reseal(disk: BackingRange, lba: number, change: (header: Buffer) => void): void {
  const header = Buffer.alloc(512);
  disk.read(lba * 512, header);
  change(header);
  header.writeUInt32LE(0, 16);
  header.writeUInt32LE(crc32(header.subarray(0, 92)), 16);
  disk.write(lba * 512, header);
}
