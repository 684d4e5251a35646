import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createGunzip } from 'node:zlib';

const FIXTURE = fileURLToPath(new URL('../fixtures/kernel-fsdax-256m.img.gz', import.meta.url));
const CHUNK_BYTES = 65536;

/** Unpacks the namespace that a real kernel made to `path`, leaving its zeros as holes. */
export async function unpackKernelNamespace(path: string): Promise<void> {
  const zeros = Buffer.alloc(CHUNK_BYTES);
  const file = await open(path, 'w');
  try {
    let offset = 0;
    for await (const piece of createReadStream(FIXTURE).pipe(
      createGunzip({ chunkSize: CHUNK_BYTES }),
    )) {
      const chunk = piece as Buffer;
      if (!chunk.equals(zeros.subarray(0, chunk.length))) {
        await file.write(chunk, 0, chunk.length, offset);
      }
      offset += chunk.length;
    }
    await file.truncate(offset);
  } finally {
    await file.close();
  }
}

/** Files of its table: size, 512-byte blocks, links, sha256. */
export const FIXTURE_FILES = {
  'hello.txt': [11, 8, 2, 'd084720a9f05046edadcfa20292e7f385d576264ab69d45e777eb85675db47c6'],
  'dir/hard': [11, 8, 2, 'd084720a9f05046edadcfa20292e7f385d576264ab69d45e777eb85675db47c6'],
  'big.txt': [2908074, 5648, 1, '1ba013ed505596ef836ccbd7e02d9555de3c5e65b56c1e96074113556959de95'],
  'sparse.bin': [
    25165824,
    32,
    1,
    'e330e429b5dda0a97558427ca8fe51a55582cb74cfec60c3a0f0705b07d211e7',
  ],
  'prealloc.bin': [
    8388608,
    16384,
    1,
    '2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74',
  ],
} as const;

/** Extents of its table: file block, partition block, blocks, unwritten. */
export const FIXTURE_EXTENTS = {
  'big.txt': [
    [0, 2579, 2, false],
    [6, 2585, 704, false],
  ],
  'sparse.bin': [
    [0, 3289, 1, false],
    [256, 4056, 1, false],
    [1280, 4568, 1, false],
    [4352, 5592, 1, false],
  ],
  'prealloc.bin': [[0, 5593, 2048, true]],
} as const;
