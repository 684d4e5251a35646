import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Test } from 'tap';

/**
 * A directory that goes when the test ends, in memory where the machine has /dev/shm. Its path is
 * short enough for a socket's, which has 107 bytes at most; that of `t.testdir()` is not.
 */
export function scratchDirectory(t: Test): string {
  return directoryIn(t, existsSync('/dev/shm') ? '/dev/shm' : tmpdir());
}

/** The same where temporary files lie, which may be a disk. */
export function temporaryDirectory(t: Test): string {
  return directoryIn(t, tmpdir());
}

function directoryIn(t: Test, base: string): string {
  const directory = mkdtempSync(join(base, 'daxd-'));
  t.teardown(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}
