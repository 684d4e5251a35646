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
  /** Bytes in quarantine: those that a lease speaks for, those that none does, and how much may be. */
  readonly quarantine: {
    readonly leasedBytes: number;
    readonly unknownBytes: number;
    readonly limitBytes: number;
  };
}

/** What was counted of the block clients of one export. */
interface ExportSeries {
  readonly name: string;
  requests(): Iterable<{
    readonly command: string;
    readonly outcome: string;
    readonly count: number;
  }>;
  durations(): Iterable<{ readonly command: string; readonly histogram: LatencyHistogram }>;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly trimSkippedPages: number;
}

/** The server of block clients. */
interface NbdSeries {
  readonly connections: number;
  /** Ended connections. */
  readonly counts: {
    readonly served: number;
    readonly refused: number;
    readonly timedOut: number;
  };
  exportSeries(): Iterable<ExportSeries>;
}

/** The plain counters of one daemon, read when it is scraped. */
export interface TelemetrySources {
  readonly version: string;
  readonly memremap: Pick<Memremap, 'devmapManagedKey' | 'pageFreeTotal' | 'pinsTotal'>;
  readonly wakeups: { readonly useful: number; readonly spurious: number };
  readonly pageFreeLatency: LatencyHistogram;
  readonly persistLatency: LatencyHistogram;
  readonly truncateWaits: TruncateWaits;
  readonly leases: Pick<LeaseCounters, 'fences' | 'held' | 'holdSeconds' | 'requests'>;
  /** Those who watch events. */
  readonly events: { readonly clients: number; readonly dropped: number };
  readonly attachSteps: readonly AttachStep[];
  readonly requests: Iterable<RequestSeries>;
  filesystems(): Iterable<MountedFilesystem>;
  pinnedPages(): Iterable<PinnedPartition>;
  /** Undefined where block clients are not served. */
  nbd(): NbdSeries | undefined;
  pendingChanges(): Iterable<Pick<PendingChange, 'op' | 'startedWallMs'>>;
}
