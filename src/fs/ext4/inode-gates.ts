/**
 * One at a time for each inode, in order of arrival. Not a lock around memory, which one
 * thread does not need, but around work that waits: what one operation found out about a
 * file's blocks still holds when it goes on.
 */
export class InodeGates {
  readonly #tails = new Map<number, Promise<unknown>>();

  /** Runs `run` after those that came before it for the same inode, whether they failed or not. */
  async run<T>(inode: number, run: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(inode);
    const mine = before === undefined ? run() : before.then(run, run);
    this.#tails.set(inode, mine);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(inode) === mine) this.#tails.delete(inode);
    }
  }

  /** Whether something runs for the inode. */
  isBusy(inode: number): boolean {
    return this.#tails.has(inode);
  }

  /** Settles when nothing runs and nothing waits to run. */
  async whenIdle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.allSettled(this.#tails.values());
  }
}
