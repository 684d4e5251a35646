/** Paths that are remembered at most. */
const PATHS_MAX = 1024;

/**
 * Which inode a path led to, symlinks followed, until some directory changes: most clients name
 * the same few files again and again.
 */
export class PathCache {
  readonly #inodes = new Map<string, number>();

  get(path: string): number | undefined {
    return this.#inodes.get(path);
  }

  set(path: string, inode: number): void {
    if (this.#inodes.size >= PATHS_MAX) this.clear();
    this.#inodes.set(path, inode);
  }

  /** Forgets all: a name was added, taken out or pointed elsewhere. */
  clear(): void {
    this.#inodes.clear();
  }
}
