import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../lib/latency-histogram.js';

/** Durations of the requests of one route, method and status. */
export interface RequestSeries {
  /** The route's pattern, never a path. */
  readonly route: string;
  readonly method: string;
  readonly code: number;
  readonly histogram: LatencyHistogram;
}

/** Durations of the requests of one route and method, a series for each status so far. */
export class RouteLatencies {
  readonly series: RequestSeries[] = [];
  readonly #route: string;
  readonly #method: string;

  constructor(route: string, method: string) {
    this.#route = route;
    this.#method = method;
  }

  /** Makes the series of a status show up at zero before its first request. */
  declare(code: number): void {
    this.#find(code);
  }

  /** @hot Once a request. */
  observe(code: number, seconds: number): void {
    this.#find(code).histogram.observe(seconds);
  }

  #find(code: number): RequestSeries {
    for (const series of this.series) if (series.code === code) return series;
    const histogram = new LatencyHistogram(FAST_BOUNDS_SECONDS);
    const series = { route: this.#route, method: this.#method, code, histogram };
    this.series.push(series);
    return series;
  }
}

/** How long requests took, by route, method and status: plain counters that telemetry reads. */
export class RequestLatencies {
  readonly #routes = new Map<string, RouteLatencies>();

  /** Every series so far. */
  *[Symbol.iterator](): IterableIterator<RequestSeries> {
    for (const { series } of this.#routes.values()) yield* series;
  }

  /** Those of one route and method, which whoever counts its requests keeps. */
  ofRoute(route: string, method: string): RouteLatencies {
    const key = `${method} ${route}`;
    const known = this.#routes.get(key) ?? new RouteLatencies(route, method);
    this.#routes.set(key, known);
    return known;
  }
}
