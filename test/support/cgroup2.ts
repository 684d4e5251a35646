import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Test } from 'tap';

import { requires } from './requires.js';

/** A directory that cgroup2 is mounted on until the test ends; undefined where the test is skipped. */
export function mountCgroup2(t: Test): string | undefined {
  if (!requires(t, { commands: ['mount', 'umount'], root: true, cgroup2: true })) return undefined;
  return mountIn(t, ['-t', 'cgroup2', 'none']).point;
}

/** Mounts something on a directory of its own until the test ends. */
export function mountIn(
  t: Test,
  what: readonly string[],
): { readonly point: string; readonly unmount: () => void } {
  const point = mkdtempSync(join(tmpdir(), 'daxd-mount-'));
  run('mount', ...what, point);
  let isMounted = true;
  const unmount = (): void => {
    if (isMounted) run('umount', point);
    isMounted = false;
  };
  t.teardown(() => {
    unmount();
    rmdirSync(point);
  });
  return { point, unmount };
}

/** A cgroup that a test made. */
export class TestCgroup {
  /** As /proc/PID/cgroup names it. */
  readonly path: string;
  readonly directory: string;

  private constructor(point: string, path: string) {
    this.path = path;
    this.directory = join(point, path);
    mkdirSync(this.directory);
  }

  /** Its processes and itself end with the test. */
  static make(t: Test, point: string, path = `/daxd-test-${process.pid}`): TestCgroup {
    const cgroup = new TestCgroup(point, path);
    t.teardown(() => cgroup.remove());
    return cgroup;
  }

  /** Starts a program in it, and comes back when it has said a line. */
  async start(program = 'echo here; read line'): Promise<ChildProcess> {
    const script = `echo $$ > "${this.directory}/cgroup.procs"; ${program}`;
    const child = spawn('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    return child;
  }

  /** Kills what is in it, and removes it; does nothing where it is gone. */
  async remove(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        for (const pid of this.#pids()) process.kill(pid, 'SIGKILL');
        rmdirSync(this.directory);
        return;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ENOENT') return;
        if ((code !== 'EBUSY' && code !== 'ESRCH') || tries === 500) throw error;
        await sleep(20);
      }
    }
  }

  #pids(): number[] {
    const type = readFileSync(`${this.directory}/cgroup.type`, 'latin1');
    if (type.startsWith('threaded')) return [];
    const text = readFileSync(`${this.directory}/cgroup.procs`, 'latin1');
    return text.split('\n').filter(Boolean).map(Number);
  }

  /** Has it hold threads in the place of processes. */
  makeThreaded(): void {
    writeFileSync(`${this.directory}/cgroup.type`, 'threaded');
  }
}

/** Ends a process, and comes back when it has been reaped. */
export async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Runs a command that has to succeed. */
export function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}
