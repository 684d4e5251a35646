import type { ByteSpan } from './byte-span.js';
import type { Extent } from './extent.js';
import { mediaOffset } from './file-read.js';
import { BLOCK_SIZE } from './layout.js';
import type { Volume } from './volume.js';

/**
 * Stores file data to the map, and makes all of it durable together. What it may store to
 * is the caller's word: blocks that the file has, or that are reserved for it.
 */
export class DataStores {
  readonly #volume: Volume;
  #stored: ByteSpan[] = [];

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Copies `source` to the bytes of the file from `offset` on, as far as extents cover them. */
  write(extents: readonly Extent[], offset: number, source: Uint8Array): void {
    const span = { from: offset, to: offset + source.length };
    this.#each(extents, span, (media, { from, to }) => {
      this.#volume.storeData(media, source.subarray(from - offset, to - offset));
    });
  }

  /** Sets the bytes of a span to zero, as far as extents cover them. */
  zero(extents: readonly Extent[], span: ByteSpan): void {
    this.#each(extents, span, (media, { from, to }) => {
      this.#volume.zeroData(media, to - from);
    });
  }

  /** Settles when all that was stored is durable. @throws DaxdError EIO */
  async persist(): Promise<void> {
    const stored = this.#stored;
    this.#stored = [];
    await Promise.all(stored.map(({ from, to }) => this.#volume.persist(from, to - from)));
  }

  #each(
    extents: readonly Extent[],
    span: ByteSpan,
    store: (media: number, part: ByteSpan) => void,
  ): void {
    // Stores past the end of a file that shrank would end the process with SIGBUS.
    this.#volume.range.backing.checkSize();
    for (const extent of extents) {
      const from = Math.max(span.from, extent.logical * BLOCK_SIZE);
      const to = Math.min(span.to, (extent.logical + extent.length) * BLOCK_SIZE);
      if (from >= to) continue;
      const media = mediaOffset(extent, from);
      store(media, { from, to });
      this.#stored.push({ from: media, to: media + to - from });
    }
  }
}
