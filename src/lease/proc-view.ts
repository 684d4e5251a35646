import { readFileSync, readlinkSync } from 'node:fs';

import { systemCodeOf } from '../lib/errno.js';

/**
 * Names what the pids and start times of a /proc count in: this process's pid namespace, and how
 * far its time namespace is ahead. In another container the same process has other numbers, and
 * another process may have the same. `undefined` where /proc shows another pid namespace than its
 * own, or none of it.
 *
 * A name comes back only when its namespace is over, and every process in it: numbers of
 * namespaces are given again.
 *
 * See pid_namespaces(7): with the first process of a namespace all others end; proc(5), NSpid;
 * time_namespaces(7): field 22 of /proc/PID/stat has the offset of whoever reads it.
 */
export function readProcView(root: string): string | undefined {
  const status = textOf(`${root}/self/status`);
  // A pid for each namespace, from the one that /proc shows to its own.
  const [, pids = ''] = /^NSpid:(.*)$/m.exec(status) ?? [];
  if (status === '' || pids.trim().split(/\s+/).length > 1) return undefined;
  const offsets = textOf(`${root}/self/timens_offsets`);
  const [, seconds = '0', nanoseconds = '0'] = /^boottime\s+(\S+)\s+(\S+)/m.exec(offsets) ?? [];
  return `${linkOf(`${root}/self/ns/pid`)} ${seconds}.${nanoseconds}`;
}

/** Empty where the kernel has none of its kind, and all see the same. */
function linkOf(path: string): string {
  return orEmpty(() => readlinkSync(path));
}

function textOf(path: string): string {
  return orEmpty(() => readFileSync(path, 'latin1'));
}

function orEmpty(read: () => string): string {
  try {
    return read();
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return '';
    throw error;
  }
}
