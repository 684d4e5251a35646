import type { StoreChange } from '../lease-store.js';

/** What is only remembered: it can be left out. */
const MEMORIES: ReadonlySet<StoreChange['kind']> = new Set(['tombstone', 'outcome']);

/** The fencing token of the lease that a change puts; else 0. */
export function fencingTokenOf(change: StoreChange): number {
  return change.kind === 'put' ? change.record.terms.fencingToken : 0;
}

/** Changes without what is only remembered of them. */
export function withoutMemories(changes: readonly StoreChange[]): readonly StoreChange[] {
  return changes.filter(({ kind }) => !MEMORIES.has(kind));
}

/** Whether changes are refused where the disk is full. */
export function takesRoom(changes: readonly StoreChange[]): boolean {
  return changes.some((change) => {
    // One that has ended stands in the place of what it was, and is removed next.
    if (change.kind === 'put') return change.record.ended !== true && change.isLess !== true;
    return change.kind === 'key' || change.kind === 'operation';
  });
}

/** Whether changes make a lease smaller: what is kept of it can grow, by a range and a run. */
export function isLess(changes: readonly StoreChange[]): boolean {
  return changes.some((change) => change.kind === 'put' && change.isLess === true);
}
