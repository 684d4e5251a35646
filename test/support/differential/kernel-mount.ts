import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { runJudge } from '../ext4-image.js';

/** Mounts of this process, for the case that it ends without its teardowns. */
const mounted = new Set<KernelMount>();
process.once('exit', () => {
  for (const { directory } of mounted) {
    runJudge('umount', ['-l', directory]);
    rmdirSync(directory);
  }
});
// Without a listener a signal ends the process, and the line above is not reached.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    process.exit(1);
  });
}

/** An image that the kernel has mounted through a loop device. */
export class KernelMount {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** The loop device. */
  get device(): string {
    const line = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .find((mount) => mount.split(' ')[1] === this.directory);
    return line?.split(' ')[0] ?? '';
  }

  /**
   * Mounts an image. Reads set no atime, and no unwritten extent is zeroed and converted just
   * because it is short: that is a policy of the kernel's, and without it blocks can be compared.
   */
  static mount(image: string, mode: 'rw' | 'ro'): KernelMount {
    const directory = join(tmpdir(), `daxd-differential-${randomUUID()}`);
    mkdirSync(directory);
    // Permissions are those that an operation asks for.
    process.umask(0);
    const options = `loop,noatime,nodev,${mode}`;
    const { status, output } = runJudge('mount', ['-t', 'ext4', '-o', options, image, directory]);
    if (status !== 0) {
      rmdirSync(directory);
      throw new Error(`mount of ${image} exits ${status}: ${output}`);
    }
    const mount = new KernelMount(directory);
    mounted.add(mount);
    if (mode === 'rw') writeFileSync(mount.#setting('extent_max_zeroout_kb'), '0');
    return mount;
  }

  unmount(): void {
    if (!mounted.has(this)) return;
    const { status, output } = runJudge('umount', [this.directory]);
    if (status !== 0) throw new Error(`umount exits ${status}: ${output}`);
    mounted.delete(this);
    rmdirSync(this.directory);
  }

  #setting(name: string): string {
    const path = `/sys/fs/ext4/${basename(this.device)}/${name}`;
    if (!existsSync(path)) throw new Error(`${path} is not there`);
    return path;
  }
}
