import type { PendingChange } from '../../../src/dax/layout-change.js';

/** A change that moves on when the test says so. */
export class ToyChange implements PendingChange {
  readonly op = 'truncate';
  readonly inode = 12;
  readonly path = 'file';
  readonly from = 4096;
  readonly to = Infinity;
  readonly startedWallMs = 1_700_000_000_000;
  readonly raisedMs = 0;
  readonly id: string;
  state: PendingChange['state'] = 'breaking';
  defers = false;
  readonly revokes = false;
  wasBroken = false;
  givenUp: PendingChange['givenUp'];
  deadlineMs: number | undefined;
  waited = 0;
  cancelled = false;

  constructor(id: string) {
    this.id = id;
  }

  waitedMs(): number {
    return this.waited;
  }

  cancel(): void {
    this.cancelled = true;
  }
}
