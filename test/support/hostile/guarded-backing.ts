import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../../src/lib/latency-histogram.js';
import type { Backing } from '../../../src/media/backing.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { Mapping } from '../../../src/media/mapping.js';

/** What lies on either side of the partition, and stays there. */
const CANARY_BYTES = 65536;
const CANARY = 0xc5;

/**
 * Memory in whose middle a partition lies, with a canary on either side: an access outside
 * the partition is noted and refused, and a store that went another way shows in the canary.
 */
export class GuardedBacking implements Backing {
  readonly path = '(hostile)';
  readonly kind = 'file';
  readonly alignBytes = 4096;
  readonly readOnly = false;
  readonly persistence = 'none';
  readonly sparse = false;
  readonly created = true;
  readonly persistLatency = new LatencyHistogram(FAST_BOUNDS_SECONDS);
  readonly sizeBytes: number;
  readonly mapping: Mapping;
  readonly partition: BackingRange;
  /** The bytes of the partition, for whoever makes and judges them. */
  readonly image: Buffer;
  /** Accesses outside, as text. */
  readonly trespasses: string[] = [];
  readonly #memory: Buffer;
  readonly #saved: Buffer;

  constructor(partitionBytes: number) {
    this.sizeBytes = partitionBytes + 2 * CANARY_BYTES;
    this.#memory = Buffer.alloc(this.sizeBytes, CANARY);
    const end = CANARY_BYTES + partitionBytes;
    this.#saved = Buffer.alloc(partitionBytes);
    this.image = this.#memory.subarray(CANARY_BYTES, end);
    this.mapping = new GuardedMapping(this.#memory, (offset, length) => {
      if (offset >= CANARY_BYTES && offset + length <= end) return;
      this.trespasses.push(`[${offset - CANARY_BYTES}, ${offset + length - CANARY_BYTES})`);
      throw new Error('an access outside the partition');
    });
    this.partition = new BackingRange(this, CANARY_BYTES, partitionBytes);
  }

  /** Whether both canaries are as they were. */
  get isCanaryWhole(): boolean {
    const after = this.#memory.subarray(this.sizeBytes - CANARY_BYTES);
    return isFull(this.#memory.subarray(0, CANARY_BYTES)) && isFull(after);
  }

  /** Keeps what the partition holds, instead of what was kept before. */
  save(): void {
    this.image.copy(this.#saved);
  }

  /** Whether the partition holds what was kept. */
  get isAsSaved(): boolean {
    return this.image.equals(this.#saved);
  }

  /** Puts back what was kept. */
  restore(): void {
    this.#saved.copy(this.image);
  }

  async persist(): Promise<void> {}

  checkSize(): void {}

  async close(): Promise<void> {}
}

const FULL = Buffer.alloc(CANARY_BYTES, CANARY);

function isFull(bytes: Buffer): boolean {
  return bytes.equals(FULL);
}

class GuardedMapping extends Mapping {
  readonly #guard: (offset: number, length: number) => void;

  constructor(memory: Buffer, guard: (offset: number, length: number) => void) {
    super({ windows: [memory], readOnly: false, windowBytes: memory.length });
    this.#guard = guard;
  }

  override view(offset: number, length: number): Buffer {
    this.#guard(offset, length);
    return super.view(offset, length);
  }

  override read(offset: number, target: Uint8Array): void {
    this.#guard(offset, target.length);
    super.read(offset, target);
  }

  override write(offset: number, source: Uint8Array): void {
    this.#guard(offset, source.length);
    super.write(offset, source);
  }

  override fill(offset: number, length: number, value: number): void {
    this.#guard(offset, length);
    super.fill(offset, length, value);
  }
}
