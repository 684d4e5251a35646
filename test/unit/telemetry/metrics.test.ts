import t from 'tap';

import { FAST_BOUNDS_SECONDS, LatencyHistogram } from '../../../src/lib/latency-histogram.js';
import { LeaseCounters } from '../../../src/lease/lease-counters.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { Metrics } from '../../../src/telemetry/metrics.js';
import type { TelemetrySources } from '../../../src/telemetry/sources.js';
import { TruncateWaits } from '../../../src/telemetry/truncate-waits.js';

function setUp() {
  const sources = {
    version: '1.2.3',
    memremap: new Memremap({ devPagemapOps: true }),
    wakeups: { useful: 0, spurious: 0 },
    pageFreeLatency: new LatencyHistogram([1e-6, 1e-3]),
    persistLatency: new LatencyHistogram(FAST_BOUNDS_SECONDS),
    truncateWaits: new TruncateWaits(),
    leases: new LeaseCounters(),
    events: { clients: 0, dropped: 0 },
    attachSteps: [{ step: 'map-pages', ok: true, seconds: 0.25 }] as const,
    requests: [{ route: '/a/:b', method: 'GET', code: 200, histogram: new LatencyHistogram([1]) }],
    pinned: [{ partition: 'pmem0p1', pages: 0 }],
    pending: [] as { op: 'truncate' | 'unlink'; startedWallMs: number }[],
    mounted: {
      partition: 'pmem0p1',
      readOnly: false,
      commitLatency: new LatencyHistogram(FAST_BOUNDS_SECONDS),
      committedOperations: 0,
      quarantine: { leasedBytes: 0, unknownBytes: 0, limitBytes: 8192 },
    },
    filesystems: () => [sources.mounted],
    pinnedPages: () => sources.pinned,
    nbd: (): ReturnType<TelemetrySources['nbd']> => undefined,
    pendingChanges: () => sources.pending,
  };
  const metrics = new Metrics(sources);
  const lines = async (): Promise<string[]> => (await metrics.page()).text.split('\n');
  return { sources, metrics, lines };
}

t.test('page: every metric of the contract is there at zero from the start', async (t) => {
  const { metrics, lines } = setUp();
  const { contentType } = await metrics.page();
  t.match(contentType, /^text\/plain; version=0\.0\.4/);
  const page = await lines();
  for (const line of [
    'daxd_page_free_latency_seconds_count 0',
    'daxd_page_free_total 0',
    'daxd_page_pins_total 0',
    'daxd_pinned_pages{partition="pmem0p1"} 0',
    'daxd_devmap_managed_users 0',
    'daxd_wakeups_total{outcome="useful"} 0',
    'daxd_wakeups_total{outcome="spurious"} 0',
    'daxd_truncate_wait_seconds_count{op="punch-hole",outcome="cancelled"} 0',
    'daxd_layout_changes_pending{op="truncate"} 0',
    'daxd_layout_change_oldest_start_timestamp_seconds{op="unlink"} 0',
    'daxd_leases{state="suspect",access="write"} 0',
    'daxd_lease_requests_total{outcome="recall_conflict"} 0',
    'daxd_lease_hold_seconds_count 0',
    'daxd_sse_clients 0',
    'daxd_events_dropped_total 0',
    'daxd_filesystem_read_only{partition="pmem0p1"} 0',
    'daxd_filesystem_commit_seconds_count{partition="pmem0p1"} 0',
    'daxd_filesystem_operations_total{partition="pmem0p1"} 0',
    'daxd_quarantine_bytes{partition="pmem0p1",owner="lease"} 0',
    'daxd_quarantine_bytes{partition="pmem0p1",owner="unknown"} 0',
    'daxd_quarantine_limit_bytes{partition="pmem0p1"} 8192',
    'daxd_attach_step_seconds{step="map-pages"} 0.25',
    'daxd_persist_seconds_count 0',
    'daxd_http_request_duration_seconds_count{route="/a/:b",method="GET",code="200"} 0',
    `daxd_build_info{version="1.2.3",node="${process.version}"} 1`,
  ]) {
    t.ok(page.includes(line), line);
  }
  t.ok(
    page.some((line) => line.startsWith('process_cpu_seconds_total ')),
    'the defaults too',
  );
});

t.test('page: a scrape reads what the layers counted meanwhile', async (t) => {
  const { sources, lines } = setUp();
  await lines();
  sources.memremap.devPagemapGetOps();
  sources.wakeups.useful = 3;
  sources.pageFreeLatency.observe(5e-7);
  sources.pageFreeLatency.observe(5e-4);
  sources.pageFreeLatency.observe(2);
  sources.truncateWaits.observe('truncate', 'done', 0.02);
  sources.leases.requests.granted = 7;
  sources.leases.held.active.read = 2;
  sources.pending.push(
    { op: 'truncate', startedWallMs: 5_000 },
    { op: 'truncate', startedWallMs: 4_000 },
  );
  sources.mounted.readOnly = true;
  sources.mounted.committedOperations = 9;
  sources.mounted.quarantine.unknownBytes = 4096;
  const page = await lines();
  for (const line of [
    'daxd_filesystem_read_only{partition="pmem0p1"} 1',
    'daxd_filesystem_operations_total{partition="pmem0p1"} 9',
    'daxd_quarantine_bytes{partition="pmem0p1",owner="unknown"} 4096',
    'daxd_devmap_managed_users 1',
    'daxd_wakeups_total{outcome="useful"} 3',
    'daxd_page_free_latency_seconds_bucket{le="0.000001"} 1',
    'daxd_page_free_latency_seconds_bucket{le="0.001"} 2',
    'daxd_page_free_latency_seconds_bucket{le="+Inf"} 3',
    'daxd_page_free_latency_seconds_count 3',
    'daxd_truncate_wait_seconds_sum{op="truncate",outcome="done"} 0.02',
    'daxd_lease_requests_total{outcome="granted"} 7',
    'daxd_leases{state="active",access="read"} 2',
    'daxd_layout_changes_pending{op="truncate"} 2',
    'daxd_layout_change_oldest_start_timestamp_seconds{op="truncate"} 4',
  ]) {
    t.ok(page.includes(line), line);
  }
});

t.test('page: two daemons of one process count apart', async (t) => {
  const one = setUp();
  const two = setUp();
  one.sources.wakeups.useful = 1;
  t.ok((await one.lines()).includes('daxd_wakeups_total{outcome="useful"} 1'));
  t.ok((await two.lines()).includes('daxd_wakeups_total{outcome="useful"} 0'));
});

t.test('page: names are complete, and no label names a client, a lease or a path', async (t) => {
  const { lines } = setUp();
  const labels = new Set(
    (await lines()).flatMap((line) => [...line.matchAll(/[{,](\w+)="/g)].map(([, label]) => label)),
  );
  for (const label of ['client', 'lease', 'lease_id', 'path', 'pid']) {
    t.notOk(labels.has(label), label);
  }
});
