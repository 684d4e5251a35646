import { closeSync, openSync, readSync, statfsSync } from 'node:fs';

import { syncFilesystem, withRoot } from './kernel-calls.js';
import { KernelMount } from './kernel-mount.js';
import { KERNEL_OPERATIONS } from './kernel-operations.js';
import { kernelEntries } from './kernel-tree.js';
import type { Answer, Operation, Outcome, Target } from './operation.js';
import type { Snapshot, SnapshotEntry } from './snapshot.js';

/** The kernel's ext4 on a loop device. Operations run in this process, by system calls. */
export class KernelTarget implements Target {
  readonly #mount: KernelMount;

  private constructor(mount: KernelMount) {
    this.#mount = mount;
  }

  /** Mounts an image; takes root. */
  static open(image: string, mode: 'rw' | 'ro' = 'rw'): KernelTarget {
    return new KernelTarget(KernelMount.mount(image, mode));
  }

  async run(operation: Operation): Promise<Outcome> {
    const perform = KERNEL_OPERATIONS[operation.kind] as (operation: Operation) => Answer;
    try {
      const answer = withRoot(this.#mount.directory, () => perform(operation));
      return answer === undefined ? {} : { answer };
    } catch (error) {
      if (error instanceof Error && 'code' in error) return { errno: errnoName(error.code) };
      throw error;
    }
  }

  /** Stores everything, and describes it. */
  snapshot(): Snapshot {
    const root = this.#mount.directory;
    syncFilesystem(root);
    const { bfree, ffree } = statfsSync(root);
    return {
      entries: kernelEntries(root, this.#mount.device),
      freeBlocks: bfree,
      freeInodes: ffree,
      read: (entry, offset, target) => this.#read(entry, offset, target),
    };
  }

  /** Unmounts, so that e2fsck may look. */
  close(): void {
    this.#mount.unmount();
  }

  #read({ path }: SnapshotEntry, offset: number, target: Buffer): number {
    const fd = openSync(`${this.#mount.directory}/${path}`, 'r');
    try {
      return readSync(fd, target, 0, target.length, offset);
    } finally {
      closeSync(fd);
    }
  }
}

/** Node calls errno 95 by its other name. */
function errnoName(code: unknown): string {
  return code === 'ENOTSUP' ? 'EOPNOTSUPP' : String(code);
}
