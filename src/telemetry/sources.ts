import type { PendingChange } from '../dax/layout-change.js';
import type { LeaseCounters } from '../lease/lease-counters.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { Memremap } from '../mm/memremap.js';
import type { AttachStep } from '../nvdimm/attach-steps.js';
import type { TruncateWaits } from './truncate-waits.js';

/** Durations of the requests of one route, method and status. */
interface RequestSeries {
  readonly route: string;
  readonly method: string;
  readonly code: number;
  readonly histogram: LatencyHistogram;
}

/** Pages of one partition that are pinned. */
interface PinnedPartition {
  readonly partition: string;
  readonly pages: number;
}

/** One mounted filesystem. */
interface MountedFilesystem {
  readonly partition: string;
  readonly readOnly: boolean;
  readonly commitLatency: LatencyHistogram;
  readonly committedOperations: number;
}

/** The plain counters of one daemon, read when it is scraped. */
export interface TelemetrySources {
  readonly version: string;
  readonly memremap: Pick<Memremap, 'devmapManagedKey' | 'pageFreeTotal' | 'pinsTotal'>;
  readonly wakeups: { readonly useful: number; readonly spurious: number };
  readonly pageFreeLatency: LatencyHistogram;
  readonly persistLatency: LatencyHistogram;
  readonly truncateWaits: TruncateWaits;
  readonly leases: Pick<LeaseCounters, 'held' | 'holdSeconds' | 'requests'>;
  readonly attachSteps: readonly AttachStep[];
  readonly requests: Iterable<RequestSeries>;
  filesystems(): Iterable<MountedFilesystem>;
  pinnedPages(): Iterable<PinnedPartition>;
  pendingChanges(): Iterable<Pick<PendingChange, 'op' | 'startedWallMs'>>;
}
