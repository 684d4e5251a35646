import { counter, gauge, histogram } from './sampled-metric.js';
import type { SampledMetricOptions } from './sampled-metric.js';
import type { TelemetrySources } from './sources.js';

/** What is told of block clients; without a server of them the metrics have no values. */
export function nbdMetrics(sources: TelemetrySources): SampledMetricOptions[] {
  return [
    gauge('daxd_nbd_connections', 'NBD connections now', () => {
      const server = sources.nbd();
      return server === undefined ? [] : [{ labels: {}, value: server.connections }];
    }),
    counter('daxd_nbd_connections_total', 'NBD connections that ended, by how', () => {
      const counts = sources.nbd()?.counts;
      if (counts === undefined) return [];
      return [
        { labels: { outcome: 'served' }, value: counts.served },
        { labels: { outcome: 'refused' }, value: counts.refused },
        { labels: { outcome: 'timed_out' }, value: counts.timedOut },
      ];
    }),
    counter('daxd_nbd_requests_total', 'NBD requests, by how they ended', function* read() {
      for (const series of sources.nbd()?.exportSeries() ?? []) {
        for (const { command, outcome, count } of series.requests()) {
          yield { labels: { export: series.name, command, outcome }, value: count };
        }
      }
    }),
    counter('daxd_nbd_request_bytes_total', 'Payload of NBD reads and writes', function* read() {
      for (const { name, bytesRead, bytesWritten } of sources.nbd()?.exportSeries() ?? []) {
        yield { labels: { export: name, direction: 'read' }, value: bytesRead };
        yield { labels: { export: name, direction: 'write' }, value: bytesWritten };
      }
    }),
    histogram(
      'daxd_nbd_request_duration_seconds',
      'From the receipt of an NBD request until its batch of replies was sent',
      function* read() {
        for (const series of sources.nbd()?.exportSeries() ?? []) {
          for (const { command, histogram: durations } of series.durations()) {
            yield { labels: { export: series.name, command }, histogram: durations };
          }
        }
      },
    ),
    counter(
      'daxd_nbd_trim_skipped_pages_total',
      'Pages that an NBD trim left alone because they were pinned',
      function* read() {
        for (const { name, trimSkippedPages } of sources.nbd()?.exportSeries() ?? []) {
          yield { labels: { export: name }, value: trimSkippedPages };
        }
      },
    ),
  ];
}
