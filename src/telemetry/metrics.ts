import { Registry, collectDefaultMetrics } from 'prom-client';

import { LAYOUT_OPS } from '../dax/layout-change.js';
import { nbdMetrics } from './nbd-metrics.js';
import { SampledMetric, counter, gauge, histogram, plain } from './sampled-metric.js';
import type { SampledMetricOptions } from './sampled-metric.js';
import type { TelemetrySources } from './sources.js';

/**
 * Gauges of prom-client whose names end as a counter's do, which promtool refuses. Each has a
 * well named twin, with the type as a label, whose sum is the same.
 */
const MISNAMED_DEFAULTS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/** The metrics page of one daemon. */
export class Metrics {
  readonly #registry = new Registry();

  constructor(sources: TelemetrySources) {
    collectDefaultMetrics({ register: this.#registry });
    for (const name of MISNAMED_DEFAULTS) this.#registry.removeSingleMetric(name);
    for (const metric of [
      ...pageMetrics(sources),
      ...waitMetrics(sources),
      ...leaseMetrics(sources),
      ...filesystemMetrics(sources),
      ...nbdMetrics(sources),
      ...daemonMetrics(sources),
    ]) {
      this.#registry.registerMetric(new SampledMetric(metric));
    }
  }

  /** Reads every counter now. */
  async page(): Promise<{ readonly contentType: string; readonly text: string }> {
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}

function pageMetrics(sources: TelemetrySources): SampledMetricOptions[] {
  const { memremap, wakeups } = sources;
  return [
    histogram(
      'daxd_page_free_latency_seconds',
      'From the put that made the last awaited page idle to the waiter running',
      () => [{ labels: {}, histogram: sources.pageFreeLatency }],
    ),
    counter('daxd_page_free_total', 'Pages that went idle, a block pinned whole as one', () => [
      plain(memremap.pageFreeTotal),
    ]),
    counter('daxd_page_pins_total', 'Pages pinned, a block as 512', () => [
      plain(memremap.pinsTotal),
    ]),
    gauge('daxd_pinned_pages', 'Pages pinned now', function* read() {
      for (const { partition, pages } of sources.pinnedPages()) {
        yield { labels: { partition }, value: pages };
      }
    }),
    gauge('daxd_devmap_managed_users', 'Users of the managed-ops key', () => [
      plain(memremap.devmapManagedKey.users),
    ]),
    counter('daxd_wakeups_total', 'Waiters that ran after a wake, by what they found', () => [
      { labels: { outcome: 'useful' }, value: wakeups.useful },
      { labels: { outcome: 'spurious' }, value: wakeups.spurious },
    ]),
  ];
}

function waitMetrics(sources: TelemetrySources): SampledMetricOptions[] {
  return [
    histogram(
      'daxd_truncate_wait_seconds',
      'How long changes of a file waited for pinned pages',
      () => sources.truncateWaits,
    ),
    gauge('daxd_layout_changes_pending', 'Changes that wait for pinned pages', () => {
      const pending = [...sources.pendingChanges()];
      return LAYOUT_OPS.map((op) => ({
        labels: { op },
        value: pending.filter((change) => change.op === op).length,
      }));
    }),
    gauge(
      'daxd_layout_change_oldest_start_timestamp_seconds',
      'When the change that waits longest began, in seconds since the epoch; 0 when none waits',
      () => {
        const pending = [...sources.pendingChanges()];
        return LAYOUT_OPS.map((op) => ({ labels: { op }, value: oldestSeconds(pending, op) }));
      },
    ),
  ];
}

function oldestSeconds(
  pending: readonly { readonly op: string; readonly startedWallMs: number }[],
  op: string,
): number {
  const starts = pending.filter((change) => change.op === op).map((change) => change.startedWallMs);
  return starts.length === 0 ? 0 : Math.min(...starts) / 1000;
}

function leaseMetrics({ leases }: TelemetrySources): SampledMetricOptions[] {
  return [
    gauge('daxd_leases', 'Leases held now', function* read() {
      for (const [state, byAccess] of Object.entries(leases.held)) {
        for (const [access, value] of Object.entries(byAccess)) {
          yield { labels: { state, access }, value };
        }
      }
    }),
    counter('daxd_lease_requests_total', 'Requests for a lease, by how they ended', () =>
      Object.entries(leases.requests).map(([outcome, value]) => ({ labels: { outcome }, value })),
    ),
    counter('daxd_fences_total', 'Attempts to fence a holder, by how they ended', () =>
      Object.entries(leases.fences).map(([outcome, value]) => ({ labels: { outcome }, value })),
    ),
    histogram('daxd_lease_hold_seconds', 'From the grant of a lease to its release', () => [
      { labels: {}, histogram: leases.holdSeconds },
    ]),
  ];
}

function filesystemMetrics(sources: TelemetrySources): SampledMetricOptions[] {
  return [
    gauge('daxd_filesystem_read_only', 'Whether a mounted filesystem takes no change', () =>
      [...sources.filesystems()].map(({ partition, readOnly }) => ({
        labels: { partition },
        value: readOnly ? 1 : 0,
      })),
    ),
    histogram(
      'daxd_filesystem_commit_seconds',
      'From the start of a commit until it was durable and in its place',
      () =>
        [...sources.filesystems()].map(({ partition, commitLatency }) => ({
          labels: { partition },
          histogram: commitLatency,
        })),
    ),
    counter(
      'daxd_filesystem_operations_total',
      'Changes that were committed; several share a commit',
      () =>
        [...sources.filesystems()].map(({ partition, committedOperations }) => ({
          labels: { partition },
          value: committedOperations,
        })),
    ),
    gauge(
      'daxd_quarantine_bytes',
      'What is kept for leases, or for nobody knows whom',
      function* read() {
        for (const { partition, quarantine } of sources.filesystems()) {
          const { leasedBytes, unknownBytes } = quarantine;
          yield { labels: { partition, owner: 'lease' }, value: leasedBytes };
          yield { labels: { partition, owner: 'unknown' }, value: unknownBytes };
        }
      },
    ),
    gauge('daxd_quarantine_limit_bytes', 'How much may be in quarantine', () =>
      [...sources.filesystems()].map(({ partition, quarantine }) => ({
        labels: { partition },
        value: quarantine.limitBytes,
      })),
    ),
  ];
}

function daemonMetrics(sources: TelemetrySources): SampledMetricOptions[] {
  return [
    gauge('daxd_attach_step_seconds', 'How long each step of the attach took', () =>
      sources.attachSteps.map(({ step, seconds }) => ({ labels: { step }, value: seconds })),
    ),
    histogram('daxd_persist_seconds', 'From the call of a persist until it was durable', () => [
      { labels: {}, histogram: sources.persistLatency },
    ]),
    histogram('daxd_http_request_duration_seconds', 'Requests, by the pattern of their route', () =>
      [...sources.requests].map(({ route, method, code, histogram: durations }) => ({
        labels: { route, method, code },
        histogram: durations,
      })),
    ),
    gauge('daxd_sse_clients', 'Connections that watch events', () => [
      plain(sources.events.clients),
    ]),
    counter('daxd_events_dropped_total', 'Events that watchers missed for being too slow', () => [
      plain(sources.events.dropped),
    ]),
    gauge('daxd_build_info', 'What runs, as labels', () => [
      { labels: { version: sources.version, node: process.version }, value: 1 },
    ]),
  ];
}
