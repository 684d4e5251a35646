import { counted } from '../lib/counted.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE, roundUp } from '../lib/units.js';
import { pagesAround } from './byte-ranges.js';
import type { LeaseRequest } from './lease-request.js';
import type { FilesystemTarget, LeasableFile, LeaseTargets, RawTarget } from './lease-target.js';
import { LEASE_EXTENTS_MAX } from './limits.js';
import { bytesIn, joinRuns } from './page-runs.js';
import type { PageRun } from './page-runs.js';
import type { LeaseAccess, LeaseTerms } from './lease-terms.js';

/** Where a lease would stand. `from` and `to` are whole pages; true until the next await. */
export type LeasePlace = FilePlace | RawPlace;

/** Pages of a file. */
export interface FilePlace {
  readonly target: FilesystemTarget;
  readonly file: LeasableFile;
  readonly from: number;
  readonly to: number;
}

/** Pages of a partition that nobody has mounted. */
interface RawPlace {
  readonly target: RawTarget;
  readonly file: undefined;
  readonly from: number;
  readonly to: number;
}

/** What tells a lease from the next one of the same place. */
type OwnTerms = Pick<LeaseTerms, 'fencingToken' | 'grantedMs' | 'holder' | 'id'>;

/**
 * Finds what a request asks for, and checks that it may be lent.
 *
 * @throws DaxdError EBUSY for a raw lease of a mounted partition; EINVAL for a path without
 * a mount, for what is no regular file, and for a range that starts at or after the end or
 * reaches beyond the page of the last byte; EISDIR; EROFS; EIO where the backing shrank; what the
 * path's lookup throws.
 */
export function findPlace(targets: LeaseTargets, request: LeaseRequest): LeasePlace {
  const { partition, path } = request;
  const target = targets.target(partition);
  // What is lent has to be there.
  target.range.backing.checkSize();
  if (target.kind === 'filesystem') {
    if (path !== undefined) return filePlace(target, request, path);
    throw new DaxdError(
      'EBUSY',
      `${partition} is mounted: name a path, or unmount it to lease its raw bytes`,
    );
  }
  if (path !== undefined) {
    throw new DaxdError(
      'EINVAL',
      `${partition} is not mounted, so it has no file ${path}: mount it, or leave the path out`,
    );
  }
  return rawPlace(target, request);
}

/**
 * The media under a place, holes left out; undefined when a hole or an unwritten extent
 * lies there and `access` is write, which needs both prepared.
 *
 * @throws DaxdError EFBIG when the file lies in more pieces than a lease may have.
 */
export function runsOf(place: LeasePlace, access: LeaseAccess): PageRun[] | undefined {
  const { from, to, file } = place;
  const { range } = place.target;
  if (file === undefined) {
    return [{ offset: from, deviceOffset: range.start + from, length: to - from }];
  }
  const runs = joinRuns(writtenRuns(place));
  if (runs.length > LEASE_EXTENTS_MAX) {
    throw new DaxdError(
      'EFBIG',
      `inode ${file.inode} lies in ${runs.length} pieces from ${from} to ${to}, a lease has at most ${LEASE_EXTENTS_MAX}: lease less at once`,
    );
  }
  return access === 'write' && bytesIn(runs) < to - from ? undefined : runs;
}

/** The filesystem on a partition; undefined while none can be used there. */
export function mountedTarget(
  targets: LeaseTargets,
  partition: string,
): FilesystemTarget | undefined {
  try {
    const target = targets.target(partition);
    return target.kind === 'filesystem' ? target : undefined;
  } catch (error) {
    if (error instanceof DaxdError) return undefined;
    throw error;
  }
}

/** What a lease of the place is made of. */
export function termsOf(
  request: LeaseRequest,
  { target, file }: LeasePlace,
  { id, fencingToken, holder, grantedMs }: OwnTerms,
): LeaseTerms {
  const { partition, path, offset, length, access, ttlMs, client } = request;
  const { secretHash, secretSalt } = request;
  const { inode, generation } = file ?? {};
  const { media } = target;
  return {
    id,
    fencingToken,
    partition,
    media,
    path,
    inode,
    generation,
    offset,
    length,
    access,
    ttlMs,
    client,
    secretHash,
    secretSalt,
    holder,
    grantedMs,
  };
}

/** Clips to the place: the filesystem may answer with extents that reach out of it. */
function writtenRuns({ target, file, from, to }: FilePlace): PageRun[] {
  file.assertLendable(from, to);
  const runs: PageRun[] = [];
  for (const extent of file.extents(from, to)) {
    const start = Math.max(from, extent.fileOffset);
    const end = Math.min(to, extent.fileOffset + extent.length);
    if (extent.unwritten || start >= end) continue;
    const mediaOffset = extent.mediaOffset + (start - extent.fileOffset);
    runs.push({
      offset: start,
      deviceOffset: target.range.start + mediaOffset,
      length: end - start,
    });
  }
  return runs;
}

function filePlace(target: FilesystemTarget, request: LeaseRequest, path: string): FilePlace {
  const file = target.fs.fileAt(path);
  const { type } = file;
  if (type !== 'file') {
    throw new DaxdError(
      type === 'directory' ? 'EISDIR' : 'EINVAL',
      `${path} is a ${type}: only regular files are leased`,
    );
  }
  checkReadOnly(request, target.fs.readOnly);
  checkWithin(request, file.size, path);
  return { target, file, ...pagesOf(request) };
}

function rawPlace(target: RawTarget, request: LeaseRequest): RawPlace {
  const { range } = target;
  checkReadOnly(request, range.readOnly);
  checkWithin(request, range.length, request.partition);
  return { target, file: undefined, ...pagesOf(request) };
}

function checkReadOnly({ access, partition }: LeaseRequest, readOnly: boolean): void {
  if (access === 'write' && readOnly) {
    throw new DaxdError('EROFS', `${partition} is read-only: ask for read access`);
  }
}

/** The end may reach to the end of the page that holds the last byte. */
function checkWithin({ offset, length }: LeaseRequest, size: number, name: string): void {
  if (offset >= size) {
    throw new DaxdError('EINVAL', `offset ${offset} is not inside ${name}, which ends at ${size}`);
  }
  const endMax = roundUp(size, PAGE_SIZE);
  if (offset + length > endMax) {
    throw new DaxdError(
      'EINVAL',
      `offset ${offset} and length ${length} reach beyond ${endMax}, the end of the last page of ${name}`,
    );
  }
}

/** The whole pages that hold the bytes asked for. */
function pagesOf({ offset, length }: LeaseRequest): ReturnType<typeof pagesAround> {
  return pagesAround({ from: offset, to: offset + length });
}

/**
 * Keeps raw leases off a partition whose filesystem is not mounted yet after a restart: a holder
 * of raw bytes would store over the files that others hold.
 *
 * @throws DaxdError EBUSY.
 */
export function refuseBesideFiles(
  partition: string,
  index: { countOnFiles(partition: string): number },
): void {
  const leases = index.countOnFiles(partition);
  if (leases === 0) return;
  throw new DaxdError(
    'EBUSY',
    `${partition} has ${counted(leases, 'lease')} of files: mount it, or end what is leased, before its raw bytes are leased`,
  );
}
