import { spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a judge answered. */
export interface Verdict {
  readonly status: number;
  readonly output: string;
}

/** Runs a program to its end; stdout and stderr together. */
export function runJudge(
  command: string,
  args: readonly string[],
  input?: string | Uint8Array,
): Verdict {
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    ...(input === undefined ? {} : { input }),
  });
  return { status: result.status ?? -1, output: `${result.stdout}${result.stderr}` };
}

function mustRun(command: string, args: readonly string[]): string {
  const { status, output } = runJudge(command, args);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} exits ${status}: ${output}`);
  return output;
}

/** Makes an image by mke2fs with 4096-byte blocks; `args` go before the file's name. */
export function makeImage(path: string, sizeBytes: number, args: readonly string[] = []): void {
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  mustRun('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', ...args, path]);
}

/** `e2fsck -fn`: changes nothing, exits 0 when there is nothing to repair. */
export function fsck(path: string, args: readonly string[] = []): Verdict {
  return runJudge('e2fsck', ['-fn', ...args, path]);
}

/** What `e2fsck -fn` asks of any filesystem that is mounted: its counters wait for the unmount. */
const MOUNTED_FINDINGS =
  /(Free (blocks|inodes) count wrong \([^)]*\)\. Fix|Feature orphan_present is set but orphan file is clean\. Clear)\? no/g;

/** {@link fsck} of a filesystem that is mounted: what any mounted one shows counts as clean. */
export function fsckMounted(path: string): Verdict {
  const { status, output } = fsck(path);
  const findings = output.replaceAll(/\s+/g, ' ');
  const others = findings.replaceAll(MOUNTED_FINDINGS, '');
  return { status: others !== findings && !others.includes('? no') ? 0 : status, output };
}

/** Answers of debugfs to one request. */
export function debugfs(path: string, request: string): string {
  return runJudge('debugfs', ['-R', request, path]).output;
}

/** Requests to debugfs that change the image. */
export function debugfsWrite(path: string, requests: readonly string[]): string {
  return runJudge('debugfs', ['-w', '-f', '-', path], `${requests.join('\n')}\n`).output;
}

/** sha256 of a file, in hex. */
export function sha256Of(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Mounts an image by the running kernel for as long as `body` runs; takes root. */
export async function withLoopMount<T>(
  image: string,
  options: string,
  body: (directory: string) => T | Promise<T>,
): Promise<T> {
  const directory = join(tmpdir(), `daxd-mount-${randomUUID()}`);
  mkdirSync(directory);
  try {
    mustRun('mount', ['-t', 'ext4', '-o', `loop,${options}`, image, directory]);
    try {
      return await body(directory);
    } finally {
      mustRun('umount', [directory]);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** One line a file, directory and symlink under `directory`, sorted; lost+found is left out. */
export function kernelTree(directory: string): string[] {
  const lines: string[] = [];
  const visit = (path: Buffer, shown: string): void => {
    for (const name of readdirSync(path, { encoding: 'buffer' })) {
      const below = Buffer.concat([path, Buffer.from('/'), name]);
      const text = `${shown}/${name.toString('latin1')}`;
      if (text === '/lost+found') continue;
      const stat = lstatSync(below);
      const head = `${text} nlink=${stat.nlink}`;
      if (stat.isDirectory()) {
        lines.push(`${head} directory`);
        visit(below, text);
      } else if (stat.isSymbolicLink()) {
        lines.push(`${head} symlink ${readlinkSync(below, { encoding: 'latin1' })}`);
      } else if (stat.isFile()) {
        const digest = createHash('sha256').update(readFileSync(below)).digest('hex');
        lines.push(`${head} file ${stat.size} ${stat.blocks} ${digest}`);
      } else {
        lines.push(`${head} other`);
      }
    }
  };
  visit(Buffer.from(directory), '');
  return lines.toSorted();
}
