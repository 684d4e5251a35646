import { assert } from './assert.js';

const DYING = 0;
const COUNT = 1;
const WORDS = 2;

/**
 * Uses that another thread counts, on memory that both threads see: the share of one
 * processor in the kernel's per-CPU counter. The thread that uses takes and puts; the
 * thread that owns the {@link UsageRef} kills and waits.
 *
 * A use is counted before the thread looks whether it may, so that whoever kills and then
 * finds a count of zero knows that no use began after.
 *
 * @kernel percpu_ref_tryget_live, percpu_ref_put_many (linux/percpu-refcount.h)
 */
export class SharedUses {
  /** What the other thread needs to stand on the same counter. */
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory = new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  get count(): number {
    return Atomics.load(this.#words, COUNT);
  }

  get dying(): boolean {
    return Atomics.load(this.#words, DYING) !== 0;
  }

  /**
   * Takes one use; false, and none taken, once it is dying.
   *
   * @hot Once a block request.
   */
  tryGet(): boolean {
    Atomics.add(this.#words, COUNT, 1);
    if (Atomics.load(this.#words, DYING) === 0) return true;
    this.put(1);
    return false;
  }

  /**
   * Gives uses back.
   *
   * @hot Once a batch of block requests.
   */
  put(uses: number): void {
    const before = Atomics.sub(this.#words, COUNT, uses);
    assert(before >= uses, 'a shared use is put once for each get');
    if (before === uses && Atomics.load(this.#words, DYING) !== 0) {
      Atomics.notify(this.#words, COUNT);
    }
  }

  /** Refuses new uses from now on. May be called more than once. */
  kill(): void {
    Atomics.store(this.#words, DYING, 1);
  }

  /** Makes it fit for a next user. Nobody may use it meanwhile. */
  revive(): void {
    assert(this.count === 0, 'a counter in use is not handed on');
    Atomics.store(this.#words, DYING, 0);
  }

  /** Settles when the count is zero; it is dying by then. */
  async whenZero(): Promise<void> {
    assert(this.dying, 'only a dying counter is waited for');
    for (let count = this.count; count > 0; count = this.count) {
      const wait = Atomics.waitAsync(this.#words, COUNT, count);
      if (wait.async) await wait.value;
    }
  }
}
