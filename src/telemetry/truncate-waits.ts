import { LAYOUT_OPS, type LayoutOp } from '../dax/layout-change.js';
import { LAYOUT_OUTCOMES, type LayoutOutcome } from '../dax/layouts.js';
import { LatencyHistogram, WAIT_BOUNDS_SECONDS } from '../lib/latency-histogram.js';
import type { LabelledHistogram } from './sampled-metric.js';

/** How long changes waited for pinned pages, by operation and outcome. */
export class TruncateWaits {
  readonly #series = new Map<string, LabelledHistogram>();

  constructor() {
    for (const op of LAYOUT_OPS) {
      for (const outcome of LAYOUT_OUTCOMES) {
        const histogram = new LatencyHistogram(WAIT_BOUNDS_SECONDS);
        this.#series.set(`${op} ${outcome}`, { labels: { op, outcome }, histogram });
      }
    }
  }

  /** Takes one wait; 0 seconds included. */
  observe(op: LayoutOp, outcome: LayoutOutcome, seconds: number): void {
    this.#series.get(`${op} ${outcome}`)?.histogram.observe(seconds);
  }

  /** Every series, those without a wait so far included. */
  [Symbol.iterator](): IterableIterator<LabelledHistogram> {
    return this.#series.values();
  }
}
