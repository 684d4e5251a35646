import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';

import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import { QUARANTINE_NAME } from '../../../src/fs/ext4/quarantine-state.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import type { Verdict } from '../ext4-image.js';
import { JudgeShell } from './judge-shell.js';
import { ImageMapping, JudgeFile, trialBacking } from './disk-image.js';
import type { DiskImage } from './disk-image.js';
import { readTree } from './tree.js';
import type { Tree, TreeEntry } from './tree.js';
import { mountTrial, treeOf } from './workload.js';

/** What a recoverer made of a cut: the tree, or why there is none. */
export interface Recovered {
  readonly tree?: Tree;
  readonly problems: readonly string[];
  /** The kernel would not mount it. */
  readonly refusal?: string;
}

/**
 * What e2fsck says without there being anything wrong, ext4.md 2.5 and 2.12: it says the same
 * of what the kernel leaves when its power goes. A free slot of the orphan file is looked at
 * before the orphan in it is cleared, hence "not clean".
 */
const USUAL_LINES = [
  /^$/,
  /^e2fsck \d/,
  /^Pass \d/,
  /: recovering journal$/,
  /^Free (blocks|inodes) count wrong \(\d+, counted=\d+\)\.$/,
  /^Feature orphan_present is set but orphan file is clean\.$/,
  /^Orphan file \(inode \d+\) block \d+ is not clean\.$/,
  /^(Fix|Clear)\? yes$/,
  /^(Clearing|Truncating) orphaned inode \d+ \(.*\)$/,
  // A tree that it has just truncated is left as deep as it was, and then found to be.
  /^Inode \d+ extent tree \(at level \d+\) could be (shorter|narrower)\. {2}Optimize\? yes$/,
  /FILE SYSTEM WAS MODIFIED/,
  /: \d+\/\d+ files/,
];

/** How {@link Recoverers.own} goes about it. */
export interface OwnOptions {
  /** Names the image that `DiskImage.begin` was called on. */
  readonly durable: bigint;
  /** Changes the filesystem after it was recovered: it must be fit for use. */
  readonly isUsed?: boolean;
}

/** Recovers cuts, each on files or memory that it keeps from cut to cut. */
export class Recoverers {
  readonly #file: JudgeFile;
  readonly #kernelFile: JudgeFile;
  readonly #mountPoint: string;
  readonly #shell: JudgeShell;
  /** Images that `e2fsck -fn` has seen, and what it said. */
  readonly #verdicts = new Map<string, readonly string[]>();
  /** How often `e2fsck -fn` was asked, and how often `-fy` found orphans of either kind. */
  readonly runs = { e2fsckChecks: 0, orphansCleared: 0, orphansTruncated: 0 };
  /** What else is wrong with a filesystem that was recovered, one line each. */
  look: (fs: Ext4) => readonly string[] = () => [];

  constructor(directory: string, sizeBytes: number) {
    this.#file = new JudgeFile(join(directory, 'judged'), sizeBytes);
    this.#kernelFile = new JudgeFile(join(directory, 'mounted'), sizeBytes);
    this.#mountPoint = join(directory, 'mount-point');
    this.#shell = new JudgeShell(join(directory, 'said'));
    mkdirSync(this.#mountPoint);
  }

  close(): void {
    this.#shell.close();
    this.#file.close();
    this.#kernelFile.close();
    rmdirSync(this.#mountPoint);
  }

  /** daxd's own mount and unmount, which change `image`; then e2fsck must find nothing to do. */
  async own(image: DiskImage, { durable, isUsed = false }: OwnOptions): Promise<Recovered> {
    try {
      const fs = await mountTrial(trialBacking(new ImageMapping(image)), false);
      if (fs.readOnly) return { problems: ['daxd mounts it read-only'] };
      const tree = readTree(fs);
      const seen = this.look(fs);
      const stale = isUsed ? await useRecovered(fs, tree) : [];
      await fs.unmount();
      return { tree, problems: [...seen, ...stale, ...(await this.#check(image, durable))] };
    } catch (error) {
      return { problems: [`daxd fails: ${messageOf(error)}`] };
    }
  }

  /** `e2fsck -fy`; `isTorn` allows it more than to replay the journal and to set counters. */
  async fsck(image: DiskImage, isTorn: boolean): Promise<Recovered> {
    this.#file.makeEqual(image);
    const { status, output } = await this.#shell.run('e2fsck', ['-fy', this.#file.path]);
    if (/Clearing orphaned inode/.test(output)) this.runs.orphansCleared++;
    if (/Truncating orphaned inode/.test(output)) this.runs.orphansTruncated++;
    const problems: string[] = [];
    const unusual = output.split('\n').filter((line) => !USUAL_LINES.some((is) => is.test(line)));
    if (status !== 0 && status !== 1) problems.push(`e2fsck -fy exits ${status}: ${output}`);
    else if (unusual.length > 0 && !isTorn) problems.push(`e2fsck -fy: ${unusual.join(' / ')}`);
    return await this.#judged(problems);
  }

  /** `e2fsck -y -E journal_only`: replays and does nothing else. */
  async journalOnly(image: DiskImage): Promise<Recovered> {
    this.#file.makeEqual(image);
    const { status, output } = await this.#shell.run('e2fsck', [
      '-y',
      '-E',
      'journal_only',
      this.#file.path,
    ]);
    return await this.#judged(
      status === 0 ? [] : [`e2fsck journal_only exits ${status}: ${output}`],
    );
  }

  /** The kernel's mount, which recovers, and its unmount. */
  async kernel(image: DiskImage): Promise<Recovered> {
    this.#kernelFile.makeEqual(image);
    const mounted = await this.#loopMount();
    if (mounted.status !== 0) return { problems: [], refusal: mounted.output.trim() };
    const read = await Promise.allSettled([readKernelTree(this.#mountPoint)]);
    await this.#unmount();
    if (read[0].status === 'rejected') throw read[0].reason;
    const seen = read[0].value;
    const { status, output } = await this.#shell.run('e2fsck', ['-fn', this.#kernelFile.path]);
    const problems = status === 0 ? [] : [`after the kernel, e2fsck -fn: ${output}`];
    // The outside tools that list attributes are slow: they are read as the kernel left them.
    const left = await treeOf(this.#kernelFile.backing(), (fs) => problems.push(...this.look(fs)));
    const tree = new Map<string, TreeEntry>();
    for (const [path, entry] of seen) {
      tree.set(path, { ...entry, xattrs: left.get(path)?.xattrs ?? 'none' });
    }
    return { tree, problems };
  }

  async #unmount(): Promise<void> {
    const { status, output } = await this.#shell.run('umount', [this.#mountPoint]);
    if (status !== 0) throw new Error(`umount exits ${status}: ${output}`);
  }

  async #loopMount(): Promise<Verdict> {
    const args = ['-t', 'ext4', '-o', 'loop', this.#kernelFile.path, this.#mountPoint];
    for (let tries = 0; ; tries++) {
      const verdict = await this.#shell.run('mount', args);
      // Others take loop devices at the same time.
      const isLoopTaken = /loop device/.test(verdict.output) && tries < 20;
      if (verdict.status === 0 || !isLoopTaken) return verdict;
    }
  }

  async #judged(problems: string[]): Promise<Recovered> {
    try {
      const look = (fs: Ext4): unknown => problems.push(...this.look(fs));
      return { tree: await treeOf(this.#file.backing(), look), problems };
    } catch (error) {
      return { problems: [...problems, `what e2fsck left is not read: ${messageOf(error)}`] };
    }
  }

  /** `e2fsck -fn` of an image, once for each content. */
  async #check(image: DiskImage, durable: bigint): Promise<readonly string[]> {
    const key = `${durable} ${changeKey(image)}`;
    const known = this.#verdicts.get(key);
    if (known !== undefined) return known;
    this.#file.makeEqual(image);
    this.runs.e2fsckChecks++;
    const { status, output } = await this.#shell.run('e2fsck', ['-fn', this.#file.path]);
    const problems = status === 0 ? [] : [`after daxd, e2fsck -fn exits ${status}: ${output}`];
    this.#verdicts.set(key, problems);
    return problems;
  }
}

/** Names the change of an image since `begin`. */
function changeKey(image: DiskImage): string {
  const digest = createHash('sha1');
  for (const page of image.changedPages()) {
    const bytes = image.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    digest.update(`${page} `).update(bytes);
  }
  return digest.digest('base64');
}

/** Bytes by which files are made longer: past the end of the last block and into another. */
const GROWTH_BYTES = 5000;
const GROWN_MAX = 6;

/** Changes what was recovered, and says where bytes come to light that were never stored there. */
async function useRecovered(fs: Ext4, tree: Tree): Promise<string[]> {
  const problems: string[] = [];
  const files = [...tree].filter(([, { type, size }]) => type === 'file' && size % PAGE_SIZE > 0);
  for (const [path, { inode, size }] of files.slice(-GROWN_MAX)) {
    await fs.truncate(inode, size + GROWTH_BYTES);
    const grown = Buffer.alloc(GROWTH_BYTES, 1);
    fs.read(inode, size, grown);
    if (grown.some((byte) => byte !== 0)) problems.push(`${path} shows a stale tail when it grows`);
  }
  try {
    await fs.mkdir('made after recovery');
    const made = await fs.create('made after recovery/file');
    await fs.write(made, 0, Buffer.alloc(3 * PAGE_SIZE, 0x5a));
  } catch (error) {
    // A full filesystem is fit for use all the same.
    if (!(error instanceof DaxdError) || error.code !== 'ENOSPC') throw error;
  }
  for (const [path, { type }] of tree) if (type === 'symlink') await fs.unlink(path);
  const [first] = files;
  if (first !== undefined) await fs.unlink(first[0]);
  return problems;
}

async function readKernelTree(mountPoint: string): Promise<Tree> {
  const tree = new Map<string, TreeEntry>();
  const visit = (at: Buffer, path: string): void => {
    const stat = lstatSync(at);
    const { ino: inode, mode, nlink, size } = stat;
    const entry = { inode, mode, nlink, size, content: EMPTY, xattrs: '' };
    if (stat.isDirectory()) {
      tree.set(path, { ...entry, type: 'directory', size: 0 });
      for (const name of readdirSync(at, { encoding: 'buffer' })) {
        const shown = name.toString('latin1');
        // daxd shows it to nobody.
        if (path === '' && shown === QUARANTINE_NAME) continue;
        const below = Buffer.concat([at, Buffer.from('/'), name]);
        visit(below, path === '' ? shown : `${path}/${shown}`);
      }
    } else if (stat.isSymbolicLink()) {
      const content = readlinkSync(at, { encoding: 'buffer' });
      tree.set(path, { ...entry, type: 'symlink', content });
    } else if (stat.isFile()) {
      tree.set(path, { ...entry, type: 'file', content: readFileSync(at) });
    } else {
      tree.set(path, { ...entry, type: specialType(stat) });
    }
  };
  visit(Buffer.from(mountPoint), '');
  return tree;
}

function specialType(stat: Pick<Stats, 'isFIFO' | 'isSocket' | 'isBlockDevice'>): string {
  if (stat.isFIFO()) return 'fifo';
  if (stat.isSocket()) return 'socket';
  return stat.isBlockDevice() ? 'block' : 'char';
}

const EMPTY = Buffer.alloc(0);

/** An error with what caused it. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const where = error.stack?.split('\n')[1]?.trim() ?? '';
  const cause = error.cause === undefined ? '' : `, for ${messageOf(error.cause)}`;
  return `${error.message} (${where})${cause}`;
}
