/**
 * Says to a worker that its connection was cut. One that waits in a call on the socket learns it
 * there; one that is at a long request looks here now and then.
 */
export class CutMark {
  /** What the other thread needs to stand on the same mark. */
  readonly memory: SharedArrayBuffer;
  readonly #word: Int32Array;

  constructor(memory = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#word = new Int32Array(memory);
  }

  get isSet(): boolean {
    return Atomics.load(this.#word, 0) !== 0;
  }

  set(): void {
    Atomics.store(this.#word, 0, 1);
  }

  /** Makes it fit for the next connection. */
  clear(): void {
    Atomics.store(this.#word, 0, 0);
  }
}
