import type { Leases } from '../lease/leases.js';
import type { TelemetrySources } from '../telemetry/sources.js';
import type { Mounts } from './mounts.js';

/** What the metrics show of each mounted filesystem. */
export function filesystemSeries(
  mounts: Mounts,
  { quarantine }: Leases,
): ReturnType<TelemetrySources['filesystems']> {
  return mounts.mounted.map(({ partition: { name }, fs }) => {
    const { bytes, capBytes: limitBytes } = fs.quarantine;
    const unknown = quarantine.unknown.filter(({ partition }) => partition === name);
    const unknownBytes = unknown.reduce((sum, { length }) => sum + length, 0);
    return {
      partition: name,
      readOnly: fs.readOnly,
      commitLatency: fs.commitCounters.latency,
      committedOperations: fs.commitCounters.operations,
      quarantine: { leasedBytes: bytes - unknownBytes, unknownBytes, limitBytes },
    };
  });
}
