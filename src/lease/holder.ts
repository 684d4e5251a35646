/** A process for all time: pids are used again, a pid with its start time is not. */
export interface ProcessRef {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks from boot to the start of the process. */
  readonly startTicks: number;
  /** What both numbers count in, as daxd saw it: see `readProcView`. */
  readonly view: string;
  readonly cgroup?: undefined;
}

/**
 * The processes in a cgroup and in those below it, as one holder. The path alone is used again.
 *
 * @kernel cgroup_id (include/linux/cgroup.h): the inode number of its directory.
 */
export interface CgroupRef {
  /** As the line 0:: of /proc/PID/cgroup says it to daxd. */
  readonly cgroup: string;
  readonly inode: number;
  /** Of the cgroup at the root of the mount that showed it: what its path counts from. */
  readonly rootInode: number;
  readonly pid?: undefined;
  readonly startTicks?: undefined;
  readonly view?: undefined;
}

/** With whose end a lease ends. */
export type Holder = ProcessRef | CgroupRef;

/**
 * - `alive`: this very process is there and has a thread that runs, or this very cgroup has
 *   such a process;
 * - `gone`: proof that it has none any more;
 * - `unseen`: neither, for instance because another user's processes are hidden, or because
 *   it was seen from another container.
 */
export type Presence = 'alive' | 'gone' | 'unseen';

/** Which holders there are; only `gone` may free what a holder has. */
export interface HolderTable {
  presence(holder: Holder): Presence;
  /** The process that has these numbers where daxd is, if there is one. */
  process(pid: number, startTicks: number): ProcessRef;
  /** The cgroup that a path names now. @throws DaxdError EOPNOTSUPP, ESRCH, EINVAL */
  cgroup(path: string): CgroupRef;
}

/** Why the lease of a holder that is gone has ended. */
export function endOf({ cgroup }: Holder): string {
  return cgroup === undefined ? 'process gone' : 'cgroup empty';
}
