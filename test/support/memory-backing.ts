import { assert } from '../../src/lib/assert.js';
import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../src/lib/latency-histogram.js';
import { isAligned, PAGE_SIZE } from '../../src/lib/units.js';
import type { Backing } from '../../src/media/backing.js';
import { Mapping, WINDOW_BYTES } from '../../src/media/mapping.js';

/** What a {@link MemoryBacking} can be told. */
export interface MemoryBackingOptions {
  readonly readOnly?: boolean;
  /** Small windows put borders where a test wants them; a multiple of 4096. */
  readonly windowBytes?: number;
  /** Runs within each persist, before it settles; what it throws, the persist rejects with. */
  readonly onPersist?: (offset: number, length: number) => void | Promise<void>;
}

/** A backing in this process's memory, for tests of the layers above media. */
export class MemoryBacking implements Backing {
  readonly path = '(memory)';
  readonly kind = 'file';
  readonly sizeBytes: number;
  readonly alignBytes = PAGE_SIZE;
  readonly readOnly: boolean;
  readonly persistence = 'none';
  readonly sparse = false;
  readonly created = true;
  readonly mapping: Mapping;
  readonly persistLatency = new LatencyHistogram(FAST_BOUNDS_SECONDS);
  /** How many persists of at least one byte were asked for. */
  persistCount = 0;
  #open = true;
  readonly #onPersist: ((offset: number, length: number) => void | Promise<void>) | undefined;

  /** Takes `sizeBytes`, a multiple of 4096 from 4096 on, of zeros. */
  constructor(sizeBytes: number, options: MemoryBackingOptions = {}) {
    const { readOnly = false, windowBytes = WINDOW_BYTES, onPersist } = options;
    assert(sizeBytes > 0 && isAligned(sizeBytes, PAGE_SIZE), 'a backing is made of whole pages');
    const windows = { lengthBytes: sizeBytes, mapWindow: zeros };
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
    this.mapping = new Mapping({ windows, readOnly, windowBytes });
    this.#onPersist = onPersist;
  }

  async persist(offset: number, length: number): Promise<void> {
    assert(this.#open, 'nothing is persisted once the backing is closed');
    assert(
      offset >= 0 && length >= 0 && offset + length <= this.sizeBytes,
      'a persist lies inside its backing',
    );
    if (length === 0) return;
    this.persistCount++;
    await this.#onPersist?.(offset, length);
  }

  checkSize(): void {
    // Memory does not shrink.
  }

  async close(): Promise<void> {
    this.#open = false;
  }
}

function zeros(_offset: number, length: number): Buffer {
  return Buffer.alloc(length);
}
