import t from 'tap';

import { gatherChunks } from '../../../src/http/upload.js';

async function* packets(...sizes: number[]): AsyncGenerator<Buffer> {
  let next = 0;
  for (const size of sizes) yield Buffer.from(Array.from({ length: size }, () => next++ % 251));
}

async function gather(chunkBytes: number, ...sizes: number[]): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of gatherChunks(packets(...sizes), chunkBytes)) chunks.push(chunk);
  return chunks;
}

t.test('gatherChunks: full chunks, the last one shorter, every byte in order', async (t) => {
  for (const sizes of [[], [0], [1], [4], [3, 3, 3], [9], [4, 4], [1, 0, 20, 2]]) {
    const chunks = await gather(4, ...sizes);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    t.ok(
      chunks.slice(0, -1).every((chunk) => chunk.length === 4),
      String(sizes),
    );
    t.ok(chunks.every((chunk) => chunk.length > 0));
    t.strictSame(
      Array.from(Buffer.concat(chunks)),
      Array.from({ length: total }, (_, i) => i % 251),
    );
  }
});
