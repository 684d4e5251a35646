/** The shortest ttl of a lease, in milliseconds. */
export const TTL_MS_MIN = 1_000;
/** The longest ttl of a lease, in milliseconds: a day. */
export const TTL_MS_MAX = 86_400_000;

/** How many leases may be held at once. */
export const LEASES_MAX = 1_000_000;
/** How many extents one lease may have: its answer lists them all. */
export const LEASE_EXTENTS_MAX = 65_536;
/** How many ranges one release may name, and how many a lease may be left with. */
export const LEASE_RANGES_MAX = 4_096;
/** How many ended leases and keys of grants are remembered; the oldest are forgotten first. */
export const REMEMBERED_MAX = 1_000_000;
/** For how long, in milliseconds: a day. */
export const REMEMBERED_MS = 86_400_000;

/** Items in one page of a listing: when nothing is asked for, and at most. */
export const LIST_DEFAULT = 100;
export const LIST_MAX = 1_000;
/** How many leases one page of a listing may look at to find those that match. */
export const LIST_SCAN_MAX = 10_000;
/** After how many ranges and extents, or ids of holders, a page of a listing ends, by which an answer has few MiB. */
export const LIST_PIECES_MAX = 20_000;
/** How many holders are named to somebody who waits for them. */
export const HOLDERS_NAMED_MAX = 1_000;

/**
 * How often a write lease prepares its blocks before it gives up, where others keep turning
 * them into holes again between the preparation and the pin.
 */
export const PREPARE_ATTEMPTS_MAX = 8;

/** How long the path of a cgroup is, in bytes: less than PATH_MAX of the kernel. */
export const CGROUP_PATH_BYTES_MAX = 4095;

/** How often holders are looked for, in milliseconds. */
export const HOLDER_POLL_MS = 1_000;
/** How many holders one turn of the event loop looks for, and the pause to the next turn. */
export const HOLDERS_PER_TURN = 256;
export const HOLDER_TURN_MS = 10;

/** How long a holder has to answer a recall before its lease is revoked, in milliseconds, where nothing is said: the kernel's lease-break-time (Documentation/admin-guide/sysctl/fs.rst). */
export const RECALL_GRACE_MS = 45_000;
/** For how long, in milliseconds from the recall, a holder can say that it takes longer. */
export const RECALL_MS_MAX = 600_000;
/** How long a fence command may run, in milliseconds. */
export const FENCE_MS_MAX = 30_000;
/** How many fence commands run at a time, and how many of these for one client. */
export const FENCES_MAX = 8;
export const FENCES_OF_CLIENT_MAX = 2;
/** The pause before a fence command that failed runs again, in milliseconds: doubled each time. */
export const FENCE_PAUSE_MS_MIN = 1_000;
export const FENCE_PAUSE_MS_MAX = 300_000;

/** How often the deadlines of renewed leases are noted in the store, in milliseconds. */
export const CHECKPOINT_MS = 5_000;
/** How many deadlines one transaction of the store notes. */
export const CHECKPOINT_BATCH = 5_000;
/** How far the notes of renewals may be behind, in milliseconds: very many take time to write. */
export const NOTE_LAG_MS = 2 * CHECKPOINT_MS;
/** For how long a lease can be gone on with after a restart, in milliseconds, if its ttl is not shorter. */
export const RESTART_GRACE_MS = 45_000;
