import { DaxdError } from '../lib/errno.js';
import { CGROUP_PATH_BYTES_MAX } from './limits.js';
import type { Holder, HolderTable, ProcessRef } from './holder.js';
import type { LeaseRequest } from './lease-request.js';

/**
 * With whose end a lease is to end, if a request names anybody: a process, or the cgroup that is
 * at its path now.
 *
 * @throws DaxdError EINVAL for two of them, or half of one; what {@link HolderTable.cgroup} throws.
 */
export function namedHolder(request: LeaseRequest, holders: HolderTable): Holder | undefined {
  const { pid, pidStart, cgroup } = request;
  if (cgroup === undefined) return namedProcess(request, holders);
  if (pid !== undefined || pidStart !== undefined) {
    throw new DaxdError('EINVAL', 'pid and cgroup name two holders: give one of them');
  }
  checkCgroupPath(cgroup);
  return holders.cgroup(cgroup);
}

/** @throws DaxdError ESRCH when the one that is to hold a lease is not seen. */
export function refuseAbsent(holder: Holder | undefined, holders: HolderTable): void {
  if (holder === undefined) return;
  const presence = holders.presence(holder);
  if (presence === 'alive') return;
  if (holder.cgroup !== undefined) {
    throw new DaxdError(
      'ESRCH',
      `cgroup ${holder.cgroup} is ${presence === 'gone' ? 'empty' : 'unseen'} for daxd: name one below the root that has a process in it, or none`,
    );
  }
  throw new DaxdError(
    'ESRCH',
    `process ${holder.pid} with start time ${holder.startTicks} is ${presence} for daxd: name a pid and start time that daxd's own /proc shows, or none`,
  );
}

function namedProcess(
  { pid, pidStart }: LeaseRequest,
  holders: HolderTable,
): ProcessRef | undefined {
  if (pid === undefined && pidStart === undefined) return undefined;
  if (pid === undefined || pidStart === undefined) {
    throw new DaxdError(
      'EINVAL',
      'pid and pid_start go together: pid_start is field 22 of /proc/PID/stat',
    );
  }
  if (!Number.isSafeInteger(pid) || pid < 1 || !Number.isSafeInteger(pidStart) || pidStart < 0) {
    throw new DaxdError(
      'EINVAL',
      `pid ${pid} and pid_start ${pidStart}: give a pid of 1 or more and field 22 of its /proc/PID/stat`,
    );
  }
  return holders.process(pid, pidStart);
}

/** A process in none of the cgroups that daxd sees has one that begins with `/..`. */
function checkCgroupPath(path: string): void {
  const parts = path === '/' ? [] : path.slice(1).split('/');
  const isNormal =
    path.startsWith('/') && parts.every((part) => part !== '' && part !== '.' && part !== '..');
  const isShort = Buffer.byteLength(path) <= CGROUP_PATH_BYTES_MAX;
  if (isNormal && isShort && path.isWellFormed() && !path.includes('\0')) return;
  throw new DaxdError(
    'EINVAL',
    `cgroup ${JSON.stringify(path.slice(0, CGROUP_PATH_BYTES_MAX))}: give what the line 0:: of /proc/PID/cgroup says, a path from /, ` +
      `at most ${CGROUP_PATH_BYTES_MAX} bytes, without "." and ".."`,
  );
}
