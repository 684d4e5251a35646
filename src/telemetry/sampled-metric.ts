import { Counter, Gauge, Histogram } from 'prom-client';
import type { LabelValues, MetricObjectWithValues, MetricValue } from 'prom-client';

import type { LatencyHistogram } from '../lib/latency-histogram.js';

/** One line of the metrics page. */
export interface Sample {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** A histogram and the labels that it has. */
export interface LabelledHistogram {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly histogram: LatencyHistogram;
}

const KINDS = { counter: Counter, gauge: Gauge, histogram: Histogram } as const;

/** What a metric is called, and where its values come from when it is scraped. */
export interface SampledMetricOptions {
  readonly kind: keyof typeof KINDS;
  readonly name: string;
  readonly help: string;
  readonly read: () => Iterable<Line>;
}

interface Line extends MetricValue<string> {
  readonly metricName?: string;
}

/**
 * A metric that keeps nothing: the layers below count in plain numbers, and a scrape reads
 * them.
 */
export class SampledMetric extends Gauge {
  readonly #shape: Counter | Gauge | Histogram;
  readonly #read: () => Iterable<Line>;

  constructor({ kind, name, help, read }: SampledMetricOptions) {
    // It goes on the page when it is registered, and on no global one.
    super({ name, help, registers: [] });
    this.#shape = new KINDS[kind]({ name, help, registers: [] });
    this.#read = read;
  }

  override async get(): Promise<MetricObjectWithValues<MetricValue<string>>> {
    return { ...(await this.#shape.get()), values: [...this.#read()] };
  }
}

/** A metric that only grows. */
export function counter(
  name: string,
  help: string,
  read: () => Iterable<Sample>,
): SampledMetricOptions {
  return { kind: 'counter', name, help, read };
}

/** A metric that goes up and down. */
export function gauge(
  name: string,
  help: string,
  read: () => Iterable<Sample>,
): SampledMetricOptions {
  return { kind: 'gauge', name, help, read };
}

/** A metric of durations. */
export function histogram(
  name: string,
  help: string,
  read: () => Iterable<LabelledHistogram>,
): SampledMetricOptions {
  return { kind: 'histogram', name, help, read: () => histogramLines(name, read()) };
}

/** A value without labels. */
export function plain(value: number): Sample {
  return { labels: {}, value };
}

/** The lines of histograms of one name: cumulative buckets, sum and count. */
function* histogramLines(name: string, series: Iterable<LabelledHistogram>): Generator<Line> {
  for (const one of series) yield* linesOf(name, one.labels, one.histogram);
}

function* linesOf(
  name: string,
  labels: LabelValues<string>,
  { boundsSeconds, counts, sumSeconds }: LatencyHistogram,
): Generator<Line> {
  let total = 0;
  for (const [i, count] of counts.entries()) {
    total += count;
    const le = boundsSeconds[i] ?? '+Inf';
    yield { metricName: `${name}_bucket`, labels: { ...labels, le }, value: total };
  }
  yield { metricName: `${name}_sum`, labels, value: sumSeconds };
  yield { metricName: `${name}_count`, labels, value: total };
}
