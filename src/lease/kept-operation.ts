import type { ErrorCode } from '../lib/errno.js';
import type { MediaIdentity } from './media-identity.js';

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

/** What became of such a change; sizes are bytes. */
export type OperationOutcome =
  | {
      readonly result: {
        readonly size: number;
        readonly waited_ms: number;
        readonly freed_bytes: number;
        readonly quarantined_bytes: number;
        /** What became of the leases that it took. */
        readonly evicted?: readonly {
          readonly lease: string;
          readonly state: string;
          readonly detail?: string;
        }[];
      };
    }
  | {
      readonly error: {
        readonly code: ErrorCode;
        readonly detail: string;
        /** Ids of the leases in the way. */
        readonly holders?: readonly string[];
      };
    };

/** An operation that has ended: remembered, so that its client can ask how. */
export interface EndedOperation extends Omit<KeptOperation, 'begun'> {
  readonly outcome: OperationOutcome;
  /** In milliseconds. */
  readonly waitedMs: number;
  /** In milliseconds since the epoch. */
  readonly endedMs: number;
}

/** The bytes that a change is about, as far as that is known without the file; `to` may be Infinity. */
export function bytesOf(change: FileChange): { readonly from: number; readonly to: number } {
  if (change.op === 'truncate') return { from: change.size, to: Infinity };
  const { op, offset, length } = change;
  const isShift = op === 'collapse-range' || op === 'insert-range';
  return { from: offset, to: isShift ? Infinity : offset + length };
}
