import { DaxdError } from '../lib/errno.js';
import { partitionPoint } from '../lib/partition-point.js';
import { subtract } from './byte-ranges.js';
import type { ByteRange } from '../lib/byte-range.js';
import type { FilesystemTarget, LeasableFile } from './lease-target.js';
import type { Lease } from './lease.js';
import type { PageRun } from './page-runs.js';
import { runEnd } from './page-runs.js';
import { placesOf } from './quarantined-pages.js';

/** A lease whose pages are its file's no longer. */
export interface MovedLease {
  readonly lease: Lease;
  readonly reason: string;
  /** Whether all that left the file is in the filesystem's quarantine: nobody else gets it. */
  readonly isKept: boolean;
}

/**
 * The leases whose pages left their files while no daemon kept them: somebody else changed the
 * media, or a change that would not wait had just moved them into the quarantine. Each file is looked at once, however many leases stand on it.
 */
export function movedPages(
  target: FilesystemTarget,
  leases: Iterable<Lease>,
  quarantined: readonly ByteRange[],
): MovedLease[] {
  const files = new Map<number, FileThen>();
  const moved: MovedLease[] = [];
  for (const lease of leases) {
    const { inode } = lease.terms;
    if (inode === undefined) continue;
    let file = files.get(inode);
    if (file === undefined) files.set(inode, (file = new FileThen(target, inode)));
    const reason = file.whyMoved(lease);
    if (reason === undefined) continue;
    const isKept = subtract(placesOf(file.lost(lease)), quarantined).length === 0;
    moved.push({ lease, reason, isKept });
  }
  return moved;
}

/** One file as the media show it after a restart. */
class FileThen {
  readonly #file: LeasableFile | string;
  /** Written pages, in bytes of the file and of the backing. */
  readonly #runs: readonly PageRun[];

  constructor({ fs, range }: FilesystemTarget, inode: number) {
    this.#file = fileOrDamage(fs, inode);
    this.#runs = typeof this.#file === 'string' ? [] : writtenRuns(this.#file, range.start);
  }

  whyMoved({ terms, runs }: Lease): string | undefined {
    const { inode, generation } = terms;
    if (typeof this.#file === 'string') return this.#file;
    if (this.#file.generation !== generation) return `inode ${inode} is another file now`;
    for (const run of runs) {
      if (!this.#holds(run)) return `bytes from ${run.offset} of inode ${inode} lie elsewhere now`;
    }
    return undefined;
  }

  /** The pages of a lease that the file does not have any more, or may not have. */
  lost({ terms, runs }: Lease): PageRun[] {
    const isSame = typeof this.#file !== 'string' && this.#file.generation === terms.generation;
    return isSame ? runs.flatMap((run) => this.#gapsIn(run)) : [...runs];
  }

  /** What of a run does not lie where it did. */
  #gapsIn(run: PageRun): PageRun[] {
    const end = runEnd(run);
    const gaps: PageRun[] = [];
    let from = run.offset;
    for (let at = this.#firstBehind(from); from < end; at++) {
      const now = this.#runs[at];
      const isBeyond = now === undefined || now.offset >= end;
      const isHere = !isBeyond && shiftOf(now) === shiftOf(run);
      if (!isBeyond && !isHere) continue;
      const to = isBeyond ? end : now.offset;
      if (to > from)
        gaps.push({ offset: from, deviceOffset: from + shiftOf(run), length: to - from });
      from = isBeyond ? end : runEnd(now);
    }
    return gaps;
  }

  /** Whether all of a run lies where it did. */
  #holds(run: PageRun): boolean {
    return this.#gapsIn(run).length === 0;
  }

  /** The first run that ends behind a byte of the file. */
  #firstBehind(offset: number): number {
    return partitionPoint(this.#runs, (run) => runEnd(run) <= offset);
  }
}

/** By how much the device is ahead of the file. */
function shiftOf({ offset, deviceOffset }: PageRun): number {
  return deviceOffset - offset;
}

function fileOrDamage(fs: FilesystemTarget['fs'], inode: number): LeasableFile | string {
  try {
    const file = fs.fileOf(inode);
    return file.type === 'file' ? file : `inode ${inode} is a ${file.type} now`;
  } catch (error) {
    if (error instanceof DaxdError) return error.message;
    throw error;
  }
}

function writtenRuns(file: LeasableFile, startBytes: number): PageRun[] {
  const runs: PageRun[] = [];
  try {
    for (const extent of file.extents(0, Number.MAX_SAFE_INTEGER)) {
      if (extent.unwritten) continue;
      const deviceOffset = startBytes + extent.mediaOffset;
      runs.push({ offset: extent.fileOffset, deviceOffset, length: extent.length });
    }
  } catch (error) {
    // A damaged tree holds nothing that could be relied on.
    if (!(error instanceof DaxdError)) throw error;
    return [];
  }
  return runs;
}
