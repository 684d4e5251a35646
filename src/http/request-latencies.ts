import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../lib/latency-histogram.js';

/** What durations of requests are told apart by. */
export interface RequestKind {
  /** The route's pattern, never a path. */
  readonly route: string;
  readonly method: string;
  readonly code: number;
}

/** Durations of the requests of one kind. */
export interface RequestSeries extends RequestKind {
  readonly histogram: LatencyHistogram;
}

/** How long requests took, by route, method and status: plain counters that telemetry reads. */
export class RequestLatencies {
  /** By route, then by method and status, so that a request joins no strings. */
  readonly #series = new Map<string, RequestSeries[]>();

  /** Every series so far. */
  *[Symbol.iterator](): IterableIterator<RequestSeries> {
    for (const series of this.#series.values()) yield* series;
  }

  /** Makes the series show up at zero before its first request. */
  declare(kind: RequestKind): void {
    this.#find(kind);
  }

  /** @hot Once a request. */
  observe(kind: RequestKind, seconds: number): void {
    this.#find(kind).histogram.observe(seconds);
  }

  #find(kind: RequestKind): RequestSeries {
    const ofRoute = this.#series.get(kind.route) ?? [];
    for (const series of ofRoute) {
      if (series.code === kind.code && series.method === kind.method) return series;
    }
    const series = { ...kind, histogram: new LatencyHistogram(FAST_BOUNDS_SECONDS) };
    ofRoute.push(series);
    this.#series.set(kind.route, ofRoute);
    return series;
  }
}
