/**
 * The items of each key, in the order in which they come. Where all have one key, they are the
 * group as they are: a restart puts a million leases of one file in groups of three kinds.
 */
export function groupBy<Key, Item>(
  items: readonly Item[],
  keyOf: (item: Item) => Key,
): Map<Key, readonly Item[]> {
  const [first] = items;
  if (first === undefined) return new Map();
  const firstKey = keyOf(first);
  const other = items.findIndex((item) => keyOf(item) !== firstKey);
  if (other < 0) return new Map([[firstKey, items]]);

  const groups = new Map([[firstKey, items.slice(0, other)]]);
  for (const item of items.slice(other)) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
