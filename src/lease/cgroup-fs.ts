import { readFileSync, statSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

import { DaxdError, systemCodeOf } from '../lib/errno.js';
import type { CgroupRef, Presence } from './holder.js';

/**
 * What statfs says of a directory of the hierarchy.
 *
 * @kernel CGROUP2_SUPER_MAGIC (linux/magic.h)
 */
const CGROUP2_SUPER_MAGIC = 0x63677270;

/** What a line of mountinfo says (proc(5)). */
interface Mount {
  readonly line: string;
  readonly point: string;
  /** What of its filesystem lies at `point`: of cgroup2 the cgroup, as lines 0:: name it. */
  readonly root: string;
  readonly type: string;
}

/** Where a cgroup is, or was. */
interface Place {
  readonly mount: Mount;
  readonly directory: string;
}

/** Where {@link CgroupFs} looks. */
export interface CgroupFsOptions {
  /** The file that says what is mounted where. */
  readonly mountinfo?: string;
  /** Whether a path lies on cgroup2. */
  readonly isCgroup2?: (path: string) => boolean;
}

/**
 * The cgroups of this machine (Documentation/admin-guide/cgroup-v2.rst), as this process sees
 * them: where cgroup2 is mounted for it, by the paths of its cgroup namespace.
 *
 * A directory on cgroup2 whose inode number is that of a cgroup is that cgroup: there is one
 * hierarchy, and a boot gives each number once. That there is no such directory at its path
 * says something only where the path leads to where it led at the grant.
 */
export class CgroupFs {
  readonly #mountinfo: string;
  readonly #isCgroup2: (path: string) => boolean;
  /** The one that a cgroup was found by last: mostly there is one, and many mounts to look through. */
  #last: Mount | undefined;

  constructor({
    mountinfo = '/proc/self/mountinfo',
    isCgroup2 = liesOnCgroup2,
  }: CgroupFsOptions = {}) {
    this.#mountinfo = mountinfo;
    this.#isCgroup2 = isCgroup2;
  }

  /**
   * The cgroup that a path names now, with processes or without.
   *
   * @throws DaxdError EOPNOTSUPP where no cgroup2 is mounted that shows the path, ESRCH for no
   * cgroup there, EINVAL for one that may hold some threads of a process and not the others.
   */
  find(cgroup: string): CgroupRef {
    const place = this.#placeOf(cgroup);
    const rootInode = place === undefined ? undefined : this.#inodeOf(place.mount.point);
    if (place === undefined || rootInode === undefined) {
      throw new DaxdError(
        'EOPNOTSUPP',
        `cgroup ${cgroup}: daxd sees no mount of cgroup2 that shows it. Mount one, or name a pid and pid_start`,
      );
    }
    const inode = this.#inodeOf(place.directory);
    if (inode === undefined) {
      throw new DaxdError(
        'ESRCH',
        `there is no cgroup ${place.directory}: name what the line 0:: of the holder's /proc/PID/cgroup says`,
      );
    }
    if (this.#isThreaded(place.directory)) {
      throw new DaxdError(
        'EINVAL',
        `cgroup ${cgroup} is threaded: other threads of its processes may be elsewhere. Name its threaded domain`,
      );
    }
    this.#last = place.mount;
    return { cgroup, inode, rootInode };
  }

  /** Reads its files synchronously, as {@link ProcFs} does those of a process. */
  presence(holder: CgroupRef): Presence {
    const guess = this.#last === undefined ? undefined : directoryOf(this.#last, holder.cgroup);
    const guessed = guess === undefined ? 'absent' : this.#look(guess, holder);
    if (guessed === 'alive' || guessed === 'gone') return guessed;

    const place = this.#placeOf(holder.cgroup);
    if (place === undefined || this.#inodeOf(place.mount.point) !== holder.rootInode) {
      return 'unseen';
    }
    this.#last = place.mount;
    const seen = this.#look(place.directory, holder);
    if (seen !== 'absent') return seen;
    // Looked at last: what would have shown it is mounted there still.
    return this.#placeOf(holder.cgroup)?.mount.line === place.mount.line ? 'gone' : 'unseen';
  }

  /** Whether a directory is that of the cgroup; `absent`: there is none, or another cgroup's. */
  #look(directory: string, { inode }: CgroupRef): Presence | 'absent' {
    try {
      const stat = statSync(directory, { throwIfNoEntry: false });
      if (stat === undefined) return 'absent';
      if (!this.#isCgroup2(directory)) return 'unseen';
      if (stat.ino !== inode) return 'absent';
      // Counts the processes of its descendants, too, and none that is a zombie.
      const events = readFileSync(`${directory}/cgroup.events`, 'latin1');
      const populated = /^populated ([01])$/m.exec(events)?.[1];
      if (populated === undefined) return 'unseen';
      return populated === '1' ? 'alive' : 'gone';
    } catch (error) {
      if (systemCodeOf(error) === undefined) throw error;
      return 'unseen';
    }
  }

  /** That of a directory of the hierarchy; undefined where there is none that daxd sees. */
  #inodeOf(directory: string): number | undefined {
    try {
      const { ino } = statSync(directory);
      return this.#isCgroup2(directory) ? ino : undefined;
    } catch (error) {
      if (systemCodeOf(error) === undefined) throw error;
      return undefined;
    }
  }

  /** The root of the hierarchy has no such file, and is not. */
  #isThreaded(directory: string): boolean {
    try {
      return readFileSync(`${directory}/cgroup.type`, 'latin1').trim() === 'threaded';
    } catch (error) {
      if (systemCodeOf(error) === undefined) throw error;
      return false;
    }
  }

  /** By the mounts as they are now. */
  #placeOf(cgroup: string): Place | undefined {
    const mounts = readMounts(this.#mountinfo);
    for (const mount of mounts) {
      const directory = mount.type === 'cgroup2' ? directoryOf(mount, cgroup) : undefined;
      // Something else may be mounted over it, or between the two.
      if (directory !== undefined && mountShowing(mounts, directory) === mount) {
        return { mount, directory };
      }
    }
    return undefined;
  }
}

/** Where a mount of cgroup2 would show a cgroup; undefined where it shows another part. */
function directoryOf({ root, point }: Mount, cgroup: string): string | undefined {
  if (!isAtOrBelow(cgroup, root)) return undefined;
  return join(point, root === '/' ? cgroup : cgroup.slice(root.length));
}

/** The mount that a path leads to: of those on the way the last, of those in one place the newest. */
function mountShowing(mounts: readonly Mount[], path: string): Mount | undefined {
  let last: Mount | undefined;
  for (const mount of mounts) {
    const isFurther = last === undefined || mount.point.length >= last.point.length;
    if (isFurther && isAtOrBelow(path, mount.point)) last = mount;
  }
  return last;
}

function isAtOrBelow(path: string, folder: string): boolean {
  return folder === '/' || path === folder || path.startsWith(`${folder}/`);
}

/** Empty where it cannot be read. */
function readMounts(mountinfo: string): Mount[] {
  let text: string;
  try {
    text = readFileSync(mountinfo, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return [];
  }
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    // ID, parent, device, root, mount point, options, any number of tags, a hyphen, type, ...
    const [fields = '', types = ''] = line.split(' - ');
    const [, , , root, point] = fields.split(' ');
    const [type = ''] = types.split(' ');
    if (root === undefined || point === undefined) continue;
    mounts.push({ line, root: unescaped(root), point: unescaped(point), type });
  }
  return mounts;
}

/** Spaces, tabs, line ends and backslashes stand there as three octal digits. */
function unescaped(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCodePoint(Number.parseInt(digits, 8)),
  );
}

function liesOnCgroup2(path: string): boolean {
  return statfsSync(path).type === CGROUP2_SUPER_MAGIC;
}
