/**
 * Remembers the things released last, up to a bound: the one released first is forgotten
 * first.
 */
export class Tombstones<Item extends { readonly id: string }> {
  readonly #byId = new Map<string, Item>();
  /** In the order of release, and around again: the next one takes the place of the oldest. */
  readonly #ring: Item[] = [];
  #next = 0;
  readonly #sizeMax: number;

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): Item | undefined {
    return this.#byId.get(id);
  }

  add(item: Item): void {
    const oldest = this.#ring[this.#next];
    if (oldest !== undefined) this.#byId.delete(oldest.id);
    this.#ring[this.#next] = item;
    this.#byId.set(item.id, item);
    this.#next = (this.#next + 1) % this.#sizeMax;
  }
}
