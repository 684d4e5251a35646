import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { Ext4 } from '../../../src/fs/ext4/ext4.js';
import { systemClock } from '../../../src/lib/clock.js';
import { MIB } from '../../../src/lib/units.js';
import { fsck } from '../ext4-image.js';
import { DaxdTarget } from './daxd-target.js';
import { makeDirtyImage } from './images.js';
import type { ImageKind } from './images.js';
import { KernelTarget } from './kernel-target.js';
import { describeOperation } from './operation.js';
import type { Operation, OperationKind, Outcome } from './operation.js';
import type { OperationSource } from './program.js';
import { differences, usedBlocks, usedInodes } from './snapshot.js';
import type { Snapshot, Times } from './snapshot.js';

/** Which method of {@link Ext4} has to be there for a kind of operation. */
const METHODS: Readonly<Record<OperationKind, string>> = {
  create: 'create',
  mkdir: 'mkdir',
  remove: 'unlink',
  write: 'write',
  append: 'append',
  replace: 'replace',
  truncate: 'truncate',
  fallocate: 'fallocate',
  zero: 'zeroRange',
  punch: 'punchHole',
  collapse: 'collapseRange',
  insert: 'insertRange',
  read: 'read',
  seek: 'seekData',
  rename: 'rename',
  link: 'link',
  symlink: 'symlink',
  mknod: 'mknod',
  attributes: 'setAttributes',
  setXattr: 'setXattr',
  getXattr: 'getXattr',
  removeXattr: 'removeXattr',
  crowd: 'link',
  thin: 'link',
  scatter: 'write',
  lend: 'prepareDma',
  unlinkOpen: 'open',
};

/** Kinds of operations that daxd has. */
export function availableKinds(): Set<OperationKind> {
  const kinds = Object.entries(METHODS).filter(([, method]) => method in Ext4.prototype);
  return new Set(kinds.map(([kind]) => kind as OperationKind));
}

/** Kinds that it does not have yet. */
export function missingKinds(): OperationKind[] {
  const available = availableKinds();
  return (Object.keys(METHODS) as OperationKind[]).filter((kind) => !available.has(kind));
}

/** How to run a program. */
export interface DifferentialPlan {
  /** Where images go; two files of `sizeBytes`. */
  readonly directory: string;
  readonly kind: ImageKind;
  readonly sizeBytes: number;
  readonly source: OperationSource;
  readonly operations: number;
  /** Operations between two comparisons. */
  readonly burst: number;
  /** From this operation on the trees are compared after each. */
  readonly fineFrom?: number;
  /** Operations after which daxd unmounts and e2fsck looks, besides after each burst. */
  readonly judgeEvery?: number;
  /** Bursts between two unmounts of the kernel's side; daxd's is unmounted after each. */
  readonly kernelEvery?: number;
  /** The image to begin with, where one was made before. */
  readonly image?: string;
  readonly progress?: (line: string) => void;
  /** Keeps this operation from daxd: a control, which must be found. */
  readonly withheld?: number;
}

/** The first difference that was found. */
interface Finding {
  /** Of the operation after which it was there, from 1 on. */
  readonly index: number;
  /** Operations up to this one left both alike. */
  readonly alikeUntil: number;
  readonly operation: string;
  readonly lines: readonly string[];
}

/** How a program went. */
export interface DifferentialReport {
  readonly operations: readonly Operation[];
  readonly comparisons: number;
  /** How often each kind succeeded, and how often it failed with which errno. */
  readonly counts: ReadonlyMap<string, number>;
  readonly finding: Finding | undefined;
}

/** Default size: room for a few hundred files, a journal, and twelve groups of 2048 blocks. */
export const IMAGE_BYTES = 96 * MIB;

const HOUR_NS = 3_600_000_000_000n;

/** Runs a program on daxd and on the kernel, on copies of one image, and compares both. */
export async function runDifferential(plan: DifferentialPlan): Promise<DifferentialReport> {
  const run = new DifferentialRun(plan);
  try {
    return await run.toEnd();
  } finally {
    await run.close();
  }
}

class DifferentialRun {
  readonly #plan: DifferentialPlan;
  readonly #paths: { readonly daxd: string; readonly kernel: string };
  readonly #times: Times;
  readonly #operations: Operation[] = [];
  readonly #counts = new Map<string, number>();
  #daxd: DaxdTarget | undefined;
  #kernel: KernelTarget | undefined;
  #base = { daxd: [0, 0], kernel: [0, 0] };
  #comparisons = 0;
  #alikeUntil = 0;

  constructor(plan: DifferentialPlan) {
    this.#plan = plan;
    this.#paths = {
      daxd: join(plan.directory, 'daxd.img'),
      kernel: join(plan.directory, 'kernel.img'),
    };
    const now = BigInt(Math.floor(systemClock.wallMs())) * 1_000_000n;
    this.#times = { nowFromNs: now - HOUR_NS, nowToNs: now + 24n * HOUR_NS };
  }

  async toEnd(): Promise<DifferentialReport> {
    await this.#start();
    const finding = (await this.#perform()) ?? (await this.#finish());
    return {
      operations: this.#operations,
      comparisons: this.#comparisons,
      counts: this.#counts,
      finding,
    };
  }

  async close(): Promise<void> {
    this.#kernel?.close();
    await this.#daxd?.close();
    for (const path of Object.values(this.#paths)) rmSync(path, { force: true });
  }

  async #start(): Promise<void> {
    const { image, kind, sizeBytes } = this.#plan;
    if (image === undefined) await makeDirtyImage(this.#paths.daxd, kind, sizeBytes);
    else copyFileSync(image, this.#paths.daxd);
    copyFileSync(this.#paths.daxd, this.#paths.kernel);
    await this.#mount();
    this.#base = { daxd: totals(this.#daxdSnapshot()), kernel: totals(this.#kernelSnapshot()) };
  }

  async #mount(): Promise<void> {
    this.#kernel ??= KernelTarget.open(this.#paths.kernel);
    this.#daxd ??= await DaxdTarget.open(this.#paths.daxd);
  }

  async #perform(): Promise<Finding | undefined> {
    const { operations, burst, source } = this.#plan;
    for (let index = 1; index <= operations; index++) {
      const operation = source.next();
      if (operation === undefined) return undefined;
      this.#operations.push(operation);
      const lines = await this.#step(operation);
      if (lines.length === 0) lines.push(...(await this.#lookAt(index)));
      if (lines.length > 0) return this.#finding(lines);
      if (index % burst === 0) this.#plan.progress?.(`${index} operations`);
    }
    return undefined;
  }

  /** Compares both after a burst, or after each operation from some on. */
  async #lookAt(index: number): Promise<string[]> {
    const { operations, fineFrom = Infinity, burst, kernelEvery = 5, judgeEvery } = this.#plan;
    const isDue = (every: number): boolean => index % every === 0 || index === operations;
    const isCompared = isDue(burst) || index > fineFrom;
    const lines = isCompared ? this.#compare() : [];
    if (lines.length > 0) return lines;
    if (isDue(judgeEvery ?? burst))
      lines.push(...(await this.#remount(isDue(burst * kernelEvery))));
    if (lines.length === 0 && isCompared) this.#alikeUntil = index;
    return lines;
  }

  async #finish(): Promise<Finding | undefined> {
    const lines = await this.#swap();
    return lines.length === 0 ? undefined : this.#finding(lines);
  }

  /** One operation on both sides; lines where they answered differently. */
  async #step(operation: Operation): Promise<string[]> {
    const kernel = await this.#kernel?.run(operation);
    const isWithheld = this.#operations.length === this.#plan.withheld;
    const daxd = isWithheld ? kernel : await this.#daxd?.run(operation);
    if (kernel === undefined || daxd === undefined) return ['not mounted'];
    this.#count(operation, kernel);
    if (!isSameOutcome(operation, daxd, kernel)) {
      return [`daxd answers ${shownOutcome(daxd)}, the kernel ${shownOutcome(kernel)}`];
    }
    if (kernel.errno === undefined) this.#plan.source.succeeded(operation);
    return [];
  }

  #count({ kind }: Operation, { errno }: Outcome): void {
    const key = errno === undefined ? kind : `${kind} ${errno}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  #compare(): string[] {
    this.#comparisons++;
    const daxd = this.#daxdSnapshot();
    const kernel = this.#kernelSnapshot();
    const lines = differences(daxd, kernel, this.#times);
    if (daxd.freeInodes !== kernel.freeInodes) {
      lines.push(`${daxd.freeInodes} free inodes, the kernel has ${kernel.freeInodes}`);
    }
    for (const [who, snapshot] of [
      ['daxd', daxd],
      ['kernel', kernel],
    ] as const) {
      const [blocks, inodes] = totals(snapshot);
      const [baseBlocks, baseInodes] = this.#base[who];
      if (blocks !== baseBlocks) lines.push(`${who}: free + used is ${blocks}, was ${baseBlocks}`);
      if (inodes !== baseInodes) lines.push(`${who}: ${inodes} inodes, were ${baseInodes}`);
    }
    return lines;
  }

  /** Unmounts, has e2fsck look, mounts again. */
  async #remount(isKernelToo: boolean): Promise<string[]> {
    await this.#daxd?.close();
    this.#daxd = undefined;
    const lines = judge('daxd', this.#paths.daxd);
    if (isKernelToo) {
      this.#kernel?.close();
      this.#kernel = undefined;
      lines.push(...judge('the kernel', this.#paths.kernel));
    }
    await this.#mount();
    return lines;
  }

  /** Each reads what the other has written: same trees, by other eyes. */
  async #swap(): Promise<string[]> {
    this.#kernel?.close();
    this.#kernel = undefined;
    await this.#daxd?.close();
    this.#daxd = undefined;
    const lines = [...judge('daxd', this.#paths.daxd), ...judge('the kernel', this.#paths.kernel)];
    this.#kernel = KernelTarget.open(this.#paths.daxd, 'ro');
    this.#daxd = await DaxdTarget.open(this.#paths.kernel);
    this.#comparisons++;
    const found = differences(this.#daxdSnapshot(), this.#kernelSnapshot(), this.#times);
    return [...lines, ...found.map((line) => `each on the other's image: ${line}`)];
  }

  #finding(lines: readonly string[]): Finding {
    const last = this.#operations.at(-1);
    return {
      index: this.#operations.length,
      alikeUntil: this.#alikeUntil,
      operation: last === undefined ? 'nothing was run' : describeOperation(last),
      lines,
    };
  }

  #daxdSnapshot(): Snapshot {
    if (this.#daxd === undefined) throw new Error('daxd has nothing mounted');
    return this.#daxd.snapshot();
  }

  #kernelSnapshot(): Snapshot {
    if (this.#kernel === undefined) throw new Error('the kernel has nothing mounted');
    return this.#kernel.snapshot();
  }
}

/** Free and used together: neither operation nor allocator may change them. */
function totals(snapshot: Snapshot): number[] {
  return [snapshot.freeBlocks + usedBlocks(snapshot), snapshot.freeInodes + usedInodes(snapshot)];
}

function judge(who: string, path: string): string[] {
  const { status, output } = fsck(path);
  return status === 0 ? [] : [`e2fsck of ${who}'s image exits ${status}: ${output}`];
}

/** What says that a path leads nowhere. */
const PATH_ERRORS = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'];
const ANY = 'any';

/** Where an operation has two faults, each side may name the one that it finds first. */
const ALLOWED_REFUSALS: readonly {
  readonly ours: readonly string[] | typeof ANY;
  readonly theirs: readonly string[];
  readonly onlyOfXattr: boolean;
}[] = [
  // The kernel would reach through a device or fifo: it is not asked, and daxd must refuse.
  { ours: ANY, theirs: ['SPECIAL'], onlyOfXattr: false },
  // daxd measures every name of a path before it follows the first.
  { ours: ['ENAMETOOLONG'], theirs: [...PATH_ERRORS, 'EBUSY'], onlyOfXattr: false },
  // daxd refuses a range that no file has at once; the kernel opens the inode first.
  { ours: ['EINVAL', 'EFBIG'], theirs: ['EISDIR'], onlyOfXattr: false },
  { ours: ['EFBIG'], theirs: ['EINVAL'], onlyOfXattr: false },
  // daxd's attributes are an inode's: a path that leads nowhere is found out first.
  { ours: PATH_ERRORS, theirs: ['ERANGE', 'E2BIG'], onlyOfXattr: true },
  // daxd refuses a name before it asks which inodes may have such.
  { ours: ['EINVAL'], theirs: ['EPERM', 'ENODATA'], onlyOfXattr: true },
];

/** Same errno, or same answer, or two refusals of one operation that both are right. */
export function isSameOutcome(operation: Operation, daxd: Outcome, kernel: Outcome): boolean {
  if (daxd.errno === kernel.errno) return daxd.answer === kernel.answer;
  if (daxd.errno === undefined || kernel.errno === undefined) return false;
  const isOfXattr = operation.kind.endsWith('Xattr');
  return ALLOWED_REFUSALS.some(
    ({ ours, theirs, onlyOfXattr }) =>
      (ours === ANY || ours.includes(daxd.errno ?? '')) &&
      theirs.includes(kernel.errno ?? '') &&
      (isOfXattr || !onlyOfXattr),
  );
}

function shownOutcome({ errno, answer }: Outcome): string {
  return errno ?? (answer === undefined ? 'done' : String(answer).slice(0, 60));
}
