import type { Partition } from '../block/partition.js';
import { probeSuperblock } from '../fs/ext4/probe.js';
import type { LeaseStore } from '../lease/lease-store.js';
import type { MediaIdentity } from '../lease/media-identity.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';

/** Which media lie on a partition now. */
export function mediaIdentity({ uuid, range }: Partition): MediaIdentity {
  const found = probeSuperblock(range);
  if (found?.usage === undefined) return { partition: uuid };
  return { partition: uuid, filesystem: found.uuid, ...found.usage };
}

/**
 * Has the store know a partition as it was mounted, or is left: what is older than that at a start
 * is a copy, and not what leases were granted on. A failure is logged: then an older copy is taken.
 */
export async function noteLeft(
  { store, log }: { readonly store: Pick<LeaseStore, 'commit'>; readonly log: Logger },
  partition: string,
  media: MediaIdentity,
): Promise<void> {
  try {
    await store.commit([{ kind: 'left', partition, media }]);
  } catch (error) {
    if (!(error instanceof DaxdError)) throw error;
    log.warn({ partition, code: error.code }, `how it was left is not noted: ${error.message}`);
  }
}
