/**
 * Remembers the things released last, up to a bound: the one released first is forgotten
 * first.
 */
export class Tombstones<Item extends { readonly id: string }> {
  readonly #byId = new Map<string, Item>();
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
    this.#byId.set(item.id, item);
    if (this.#byId.size <= this.#sizeMax) return;
    for (const oldest of this.#byId.keys()) {
      this.#byId.delete(oldest);
      break;
    }
  }
}
