import type { MediaIdentity } from './lease-terms.js';

/** What a change does to a file; offsets, lengths and sizes are bytes. */
export type FileChange =
  | { readonly op: 'truncate'; readonly size: number }
  | {
      readonly op: 'punch-hole' | 'collapse-range' | 'insert-range';
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly op: 'zero-range' | 'fallocate';
      readonly offset: number;
      readonly length: number;
      readonly keepSize: boolean;
    };

/** What a change does where pages are lent; one that would not wait is kept by nobody. */
type KeptConflict = 'wait' | 'defer' | 'revoke';

/** A change of a file that its client was told of, and that goes on without it. */
export interface KeptOperation {
  /** That of its operation: ids ascend in the order of the queue. */
  readonly id: string;
  readonly partition: string;
  /** Which media it was asked of. */
  readonly media: MediaIdentity;
  readonly inode: number;
  readonly generation: number;
  /** As it was asked for, for people. */
  readonly path: string;
  readonly change: FileChange;
  readonly onConflict: KeptConflict;
  /** How long it waits at most from when it was asked for; with `revoke` how long each holder has. */
  readonly deadlineMs: number | undefined;
  /** When it was asked for: on the clock of this boot, and in milliseconds since the epoch. */
  readonly bootId: string;
  readonly startedMs: number;
  readonly startedWallMs: number;
  /** Its wait was over, and the file about to change: what became of it only the file tells. */
  readonly begun: boolean;
}
