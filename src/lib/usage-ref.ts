import { assert } from './assert.js';
import type { SharedUses } from './shared-uses.js';

/**
 * Counts uses of a thing that can be shut: after `kill` no new use starts, and `whenZero`
 * tells when the last one ended.
 *
 *     live --kill--> dying --count reaches zero--> dead
 *
 * @kernel struct percpu_ref (lib/percpu-refcount.c)
 */
export class UsageRef {
  #count = 0;
  #dying = false;
  readonly #waiters: (() => void)[] = [];
  /** What other threads count; each is killed and awaited with this one. */
  readonly #shares = new Set<SharedUses>();

  /** Uses on this thread and, a moment old, on the others. */
  get count(): number {
    let count = this.#count;
    for (const share of this.#shares) count += share.count;
    return count;
  }

  get dying(): boolean {
    return this.#dying;
  }

  /** Takes `uses` uses; false, and none taken, once the ref is dying. */
  tryGet(uses = 1): boolean {
    if (this.#dying) return false;
    this.#count += uses;
    return true;
  }

  put(uses = 1): void {
    assert(this.#count >= uses, 'a usage ref is put once for each get');
    this.#count -= uses;
    if (this.#dying && this.#count === 0) {
      for (const wake of this.#waiters.splice(0)) wake();
    }
  }

  /** Lets another thread count uses of its own; false once the ref is dying. */
  addShare(share: SharedUses): boolean {
    if (this.#dying) return false;
    this.#shares.add(share);
    return true;
  }

  /** The other thread uses it no more. */
  dropShare(share: SharedUses): void {
    assert(share.count === 0, 'a share is dropped when its last use ended');
    this.#shares.delete(share);
  }

  /** Refuses new uses from now on. May be called more than once. */
  kill(): void {
    this.#dying = true;
    for (const share of this.#shares) share.kill();
  }

  /** Settles when the ref is dying and its count is zero. Not cancellable, as in the kernel. */
  async whenZero(): Promise<void> {
    assert(this.#dying, 'only a dying ref is waited for');
    await Promise.all([...this.#shares].map((share) => share.whenZero()));
    if (this.#count === 0) return;
    await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}
