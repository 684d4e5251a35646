import { spawnSync } from 'node:child_process';

import type { Test } from 'tap';

/** What must be there before a test can ask an outside judge. */
export interface Requirements {
  /** Programs that must be on the PATH. */
  readonly commands?: readonly string[];
  /** Whether the test mounts something, which takes root. */
  readonly root?: boolean;
  /** Whether the test mounts cgroup2 and makes cgroups, which not every container may. */
  readonly cgroup2?: boolean;
  /** Whether files for tests can have extended attributes of users: tmpfs has them since Linux 6.6. */
  readonly userXattrs?: boolean;
}

/**
 * Whether the judges that a test needs are here. Where one is missing the test is skipped
 * with the reason printed, and fails instead when `CI=true`: CI installs them all.
 */
export function requires(t: Test, needs: Requirements): boolean {
  const missing = missingOf(needs);
  if (missing.length === 0) return true;

  const reason = `needs ${missing.join(', ')}`;
  if (process.env['CI'] === 'true') t.fail(reason);
  else t.pass(reason, { skip: reason });
  return false;
}

function missingOf(needs: Requirements): string[] {
  const { commands = [], root = false, cgroup2 = false, userXattrs = false } = needs;
  const missing = commands.filter((command) => spawnSync('which', [command]).status !== 0);
  if (root && process.getuid?.() !== 0) missing.push('root');
  if (cgroup2 && !canMakeCgroups()) missing.push('leave to make cgroups on cgroup2');
  if (userXattrs && !canHaveXattrs()) missing.push('extended attributes, and python3');
  return missing;
}

/** Tries it in a mount namespace of its own, so that nothing is left behind. */
function canMakeCgroups(): boolean {
  const script = 'mount -t cgroup2 none /mnt && mkdir /mnt/daxd-$$ && rmdir /mnt/daxd-$$';
  const { status } = spawnSync('unshare', [
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    script,
  ]);
  return status === 0;
}

function canHaveXattrs(): boolean {
  const script = `import os, tempfile
with tempfile.NamedTemporaryFile() as file: os.setxattr(file.name, "user.daxd", b"x")`;
  return spawnSync('python3', ['-c', script]).status === 0;
}
