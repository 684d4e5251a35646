/** A count with its noun, for a message: `1 lease`, `2 leases`. For nouns whose plural takes an s. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
