/** A page of a listing as the daemon answers it: its items under their name. */
export type PageAnswer<Name extends string, Item> = {
  readonly [name in Name]: readonly Item[];
} & { readonly next_cursor?: string };

/**
 * All that a listing has, page after page; awaits each.
 *
 * @param get answers with a page.
 * @param query filters, which each page is asked for with.
 */
export async function allPages<Name extends string, Item>(
  get: (path: string) => Promise<PageAnswer<Name, Item>>,
  { path, name, query = new URLSearchParams() }: Listing<Name>,
): Promise<Item[]> {
  const found: Item[] = [];
  const asked = new URLSearchParams(query);
  for (;;) {
    const page = await get(asked.size === 0 ? path : `${path}?${asked.toString()}`);
    for (const item of page[name]) found.push(item);
    if (page.next_cursor === undefined) return found;
    asked.set('cursor', page.next_cursor);
  }
}

/** Which listing, and under which name it has its items. */
export interface Listing<Name extends string> {
  readonly path: string;
  readonly name: Name;
  readonly query?: URLSearchParams;
}
