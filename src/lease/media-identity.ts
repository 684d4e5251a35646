/** A superblock counts mounts in 16 bits. */
const MOUNT_COUNT_MASK = 0xffff;

/** Tells media apart that may come to lie in the same place. */
export interface MediaIdentity {
  /** The unique partition GUID; empty where there is no table. */
  readonly partition: string;
  /** The uuid of the ext4 on it; absent where there is none. */
  readonly filesystem?: string | undefined;
  /** When that was written last, as its superblock says, in seconds since the epoch. */
  readonly writtenSeconds?: number | undefined;
  /** How often it was mounted for writing since it was made or checked, modulo 65536. */
  readonly mountCount?: number | undefined;
  /** When e2fsck checked it last, and began to count its mounts anew; in seconds since the epoch. */
  readonly checkedSeconds?: number | undefined;
}

/** Why media are not those that they were; undefined where they are. */
export function whyOther(then: MediaIdentity, now: MediaIdentity): string | undefined {
  if (then.partition !== now.partition) {
    return `its uuid was ${then.partition} and is ${now.partition}`;
  }
  if (then.filesystem === undefined) return undefined;
  if (then.filesystem !== now.filesystem) {
    return `the uuid of its ext4 was ${then.filesystem} and is ${now.filesystem ?? 'gone'}`;
  }
  return isOlder(then, now) ? 'its ext4 is an older state of the one that was leased' : undefined;
}

/** Whether media are a copy from before: e2fsck alone sets the count of mounts back. */
function isOlder(then: MediaIdentity, now: MediaIdentity): boolean {
  const { writtenSeconds = 0, mountCount } = then;
  if (writtenSeconds > (now.writtenSeconds ?? 0)) return true;
  if (mountCount === undefined || now.mountCount === undefined) return false;
  const fewer = (mountCount - now.mountCount) & MOUNT_COUNT_MASK;
  const isFewer = fewer > 0 && fewer <= MOUNT_COUNT_MASK / 2;
  return isFewer && (now.checkedSeconds ?? 0) < writtenSeconds;
}
