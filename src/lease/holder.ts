/** A process for all time: pids are used again, a pid with its start time is not. */
export interface ProcessRef {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks from boot to the start of the process. */
  readonly startTicks: number;
}

/**
 * - `alive`: this very process is there and has a thread that runs;
 * - `gone`: proof that it has none any more;
 * - `unseen`: neither, for instance because another user's processes are hidden.
 */
export type Presence = 'alive' | 'gone' | 'unseen';

/** Which holders there are; only `gone` may free what a holder has. */
export interface HolderTable {
  presence(holder: ProcessRef): Presence;
}
