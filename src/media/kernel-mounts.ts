import { fstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { DaxdError, systemCodeOf } from '../lib/errno.js';

/** A mount of this mount namespace that stores. */
interface Mounted {
  /** Of its device: `major:minor`. */
  readonly device: string;
  readonly mountpoint: string;
}

/**
 * Refuses a file that the kernel has mounted for writing through a loop device, which takes no
 * lock: each of the two would store what the other one knows nothing of.
 *
 * @throws DaxdError EBUSY naming the mount; EIO.
 */
export function refuseMounted(fd: number, path: string): void {
  const { dev, ino } = fstatSync(fd);
  for (const { device, mountpoint } of mountedForWriting(readText('/proc/self/mountinfo'))) {
    const loop = loopDevice(device);
    const file = loop && statSync(loop.backing, { throwIfNoEntry: false });
    if (loop === undefined || file?.dev !== dev || file.ino !== ino) continue;
    throw new DaxdError(
      'EBUSY',
      `${path} is mounted by the kernel on ${mountpoint}, through ${loop.name}: unmount it first, or give --read-only`,
    );
  }
}

/**
 * The mounts whose filesystem takes changes.
 *
 * @param mountinfo the text of /proc/self/mountinfo (proc_pid_mountinfo(5))
 */
export function mountedForWriting(mountinfo: string): Mounted[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [mount = '', superblock = ''] = line.split(' - ');
    const [, , device, , mountpoint] = mount.split(' ');
    const [, , options = ''] = superblock.split(' ');
    const isForWriting = options.split(',').includes('rw');
    return device === undefined || mountpoint === undefined || !isForWriting
      ? []
      : [{ device, mountpoint }];
  });
}

/** The loop device that a device is, or is a partition of, and its file. */
function loopDevice(device: string): { name: string; backing: string } | undefined {
  let directory: string;
  try {
    directory = realpathSync(`/sys/dev/block/${device}`);
  } catch {
    // Of no block device, or there is no sysfs.
    return undefined;
  }
  for (const of of [directory, dirname(directory)]) {
    const backing = readText(join(of, 'loop', 'backing_file')).trimEnd();
    if (backing !== '') return { name: `/dev/${basename(directory)}`, backing };
  }
  return undefined;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return '';
    throw new DaxdError('EIO', `cannot read ${path}`, { cause: error });
  }
}
