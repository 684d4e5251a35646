import { LIST_DEFAULT, LIST_PIECES_MAX } from '../lease/limits.js';
import { DaxdError } from '../lib/errno.js';

/** Part of a listing. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** What the next page starts after; absent where there is none. */
  readonly nextCursor?: string;
}

/**
 * The first of what is listed, ascending by id. Each is made as it is asked for, and the last
 * may be for nothing: that there is more.
 *
 * @param piecesOf what makes one long.
 */
export function pageOf<Item extends { readonly id: string }>(
  items: Iterable<Item>,
  limit = LIST_DEFAULT,
  piecesOf: (item: Item) => number = () => 1,
): Page<Item> {
  const page: Item[] = [];
  let pieces = 0;
  for (const item of items) {
    const last = page.at(-1);
    const isFull = page.length === limit || pieces >= LIST_PIECES_MAX;
    if (isFull && last !== undefined) return { items: page, nextCursor: last.id };
    page.push(item);
    pieces += piecesOf(item);
  }
  return { items: page };
}

/** What a listing says of a cursor that it did not give. */
export function unknownCursor(cursor: string): DaxdError {
  const text = JSON.stringify(cursor);
  return new DaxdError(
    'EINVAL',
    `cursor ${text} is not one of daxd's: give next_cursor of the page before`,
  );
}
