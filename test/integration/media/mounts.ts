import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Test } from 'tap';

/** Makes an ext4 of 16 MiB in a file in `directory`, mounts it, and returns the mountpoint. */
export function mountSmallExt4(t: Test, directory: string): string {
  const disk = join(directory, 'disk');
  writeFileSync(disk, '');
  truncateSync(disk, 16 * 2 ** 20);
  execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-O', '^has_journal', disk]);
  return mountForTest(t, ['-o', 'loop', disk]);
}

/** Mounts a filesystem in memory that is full at `size`, and returns the mountpoint. */
export function mountSmallTmpfs(t: Test, size = '2m'): string {
  return mountForTest(t, ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs']);
}

/** Writes a file until there is no room left. */
export function fillDisk(path: string): void {
  const fd = openSync(path, 'w');
  try {
    for (;;) writeSync(fd, Buffer.alloc(4096, 1));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  } finally {
    closeSync(fd);
  }
}

function mountForTest(t: Test, args: string[]): string {
  const mountpoint = mkdtempSync(join(tmpdir(), 'daxd-mnt-'));
  execFileSync('mount', [...args, mountpoint]);
  t.teardown(() => {
    // Lazily: mappings of its files keep it busy until this process ends.
    execFileSync('umount', ['-l', mountpoint]);
    rmdirSync(mountpoint);
  });
  return mountpoint;
}
