import type { LeaseStore, StoreChange } from './lease-store.js';

/** So few changes have room in what a store reserves, however full its disk is. */
const PART_CHANGES = 16;

/**
 * Makes very many changes durable that need not be one step: where there is room they share
 * transactions, and a full disk takes them a few at a time. Settles when all are, or one is not.
 *
 * @throws DaxdError as {@link LeaseStore.commit}: some of them may be durable all the same.
 */
export async function commitInParts(
  store: Pick<LeaseStore, 'commit'>,
  changes: readonly StoreChange[],
): Promise<void> {
  const parts: Promise<void>[] = [];
  for (let from = 0; from < changes.length; from += PART_CHANGES) {
    parts.push(store.commit(changes.slice(from, from + PART_CHANGES)));
  }
  await Promise.all(parts);
}
