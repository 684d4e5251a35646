import type { PendingChange, ResumedChange } from '../dax/layout-change.js';
import type { FileChange } from '../lease/kept-operation.js';
import type { KeptChange } from './control.js';
import { changeFile } from './file-change.js';
import type { ChangeOptions, ConflictTerms, LayoutChanger } from './file-change.js';
import type { WaitLimit } from './patience.js';
import type { LayoutChanged } from './schemas/file.js';

/** What a {@link PatientChange} is made of. */
export interface PatientChangeParts {
  readonly inode: number;
  readonly path: string;
  readonly change: FileChange;
  readonly terms: ConflictTerms;
  readonly limit: WaitLimit;
  /** Where it may outlive its call. */
  readonly kept?: KeptChange;
  /** Where it began to wait in an earlier daemon. */
  readonly resumed?: ResumedChange;
}

/**
 * A change of a file's layout, with what it does about the leases in its way, what ends its wait,
 * and what is kept of it.
 */
export class PatientChange {
  readonly #parts: PatientChangeParts;

  constructor(parts: PatientChangeParts) {
    this.#parts = parts;
  }

  /** What ends its wait. */
  get limit(): WaitLimit {
    return this.#parts.limit;
  }

  /** What it is run with. */
  get options(): ChangeOptions {
    const { path, terms, limit, kept, resumed } = this.#parts;
    const { defer, revoke } = terms;
    const { signal, deadlineMs } = limit;
    return {
      path,
      signal,
      deadlineMs,
      defer,
      revoke,
      ...(kept !== undefined && { onBegin: kept.onBegin }),
      ...(resumed !== undefined && { resumed }),
    };
  }

  /**
   * Runs it; its barrier is up when this returns.
   *
   * @param onWait told when it finds that it has to wait.
   * @throws DaxdError what the filesystem says.
   */
  async run(fs: LayoutChanger, onWait?: (change: PendingChange) => void): Promise<LayoutChanged> {
    const { inode, change, terms, limit } = this.#parts;
    const waits = (waiting: PendingChange): void => {
      limit.waits(waiting.id);
      onWait?.(waiting);
    };
    return terms.answer(changeFile(fs, inode, change, { ...this.options, onWait: waits }));
  }

  /** Settles as `work` does, which runs it, once nothing is left of its wait. */
  async until(work: Promise<LayoutChanged>): Promise<LayoutChanged> {
    const { kept, limit } = this.#parts;
    try {
      return await (kept === undefined ? work : kept.until(work));
    } finally {
      limit.done();
    }
  }
}
