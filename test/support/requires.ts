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
}

/**
 * Whether the judges that a test needs are here. Where one is missing the test is skipped
 * with the reason printed, and fails instead when `CI=true`: CI installs them all.
 */
export function requires(
  t: Test,
  { commands = [], root = false, cgroup2 = false }: Requirements,
): boolean {
  const missing = commands.filter((command) => spawnSync('which', [command]).status !== 0);
  if (root && process.getuid?.() !== 0) missing.push('root');
  if (cgroup2 && !canMakeCgroups()) missing.push('leave to make cgroups on cgroup2');
  if (missing.length === 0) return true;

  const reason = `needs ${missing.join(', ')}`;
  if (process.env['CI'] === 'true') t.fail(reason);
  else t.pass(reason, { skip: reason });
  return false;
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
