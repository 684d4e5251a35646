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
