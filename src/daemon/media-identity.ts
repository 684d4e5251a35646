import type { Partition } from '../block/partition.js';
import { probeSuperblock } from '../fs/ext4/probe.js';
import type { MediaIdentity } from '../lease/lease-terms.js';

/** Which media lie on a partition now. */
export function mediaIdentity({ uuid, range }: Partition): MediaIdentity {
  const found = probeSuperblock(range);
  if (found?.writtenSeconds === undefined) return { partition: uuid };
  return { partition: uuid, filesystem: found.uuid, writtenSeconds: found.writtenSeconds };
}
