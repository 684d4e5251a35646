import { DiskImage, ImageMapping, trialBacking } from './disk-image.js';
import type { Backing } from '../../../src/media/backing.js';
import type { SeededRandom } from '../seeded-random.js';

/** What happened, in order: a store's place in the log is its age. */
export type PowerEvent =
  | { readonly kind: 'store'; readonly offset: number; readonly bytes: Buffer }
  /** A persist began: it covers what was stored before this. */
  | { readonly kind: 'persist'; readonly offset: number; readonly length: number }
  /** It settled; `began` is the place of its beginning in the log. */
  | { readonly kind: 'persisted'; readonly began: number }
  | { readonly kind: 'start' | 'settled'; readonly batch: number; readonly operation: number };

/** How many turns of the loop a persist takes at most: they overtake each other. */
const PERSIST_TURNS_MAX = 3;

/** Media in memory that log every store and every persist. */
export class PowerLog {
  readonly events: PowerEvent[] = [];
  readonly backing: Backing;
  readonly image: DiskImage;
  readonly #random: SeededRandom;

  /** @param image what the media hold at first; changed by what is stored */
  constructor(image: DiskImage, random: SeededRandom) {
    this.image = image;
    this.#random = random;
    this.backing = trialBacking(new LoggingMapping(image, this.events), (offset, length) =>
      this.#persist(offset, length),
    );
  }

  async #persist(offset: number, length: number): Promise<void> {
    if (length === 0) return;
    const began = this.events.length;
    this.events.push({ kind: 'persist', offset, length });
    const turns = this.#random.below(PERSIST_TURNS_MAX + 1);
    for (let i = 0; i <= turns; i++) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    this.events.push({ kind: 'persisted', began });
  }
}

class LoggingMapping extends ImageMapping {
  readonly #events: PowerEvent[];

  constructor(image: DiskImage, events: PowerEvent[]) {
    super(image);
    this.#events = events;
  }

  override write(offset: number, source: Uint8Array): void {
    super.write(offset, source);
    this.#events.push({ kind: 'store', offset, bytes: Buffer.from(source) });
  }

  override fill(offset: number, length: number, value: number): void {
    super.fill(offset, length, value);
    this.#events.push({ kind: 'store', offset, bytes: Buffer.alloc(length, value) });
  }
}

/** Where the stores that were logged do not add up to what the media hold: stores past the log. */
export function unloggedPages({ events, image }: PowerLog, before: DiskImage): number[] {
  const replayed = before.copy();
  for (const event of events) {
    if (event.kind === 'store') replayed.put(event.offset, event.bytes);
  }
  return replayed.differences(image);
}
