import { type Ext4, mountExt4 } from '../../../src/fs/ext4/ext4.js';
import { systemClock } from '../../../src/lib/clock.js';
import { DaxdError, type ErrorCode } from '../../../src/lib/errno.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { layoutsOf } from '../layouts.js';
import type { SeededRandom } from '../seeded-random.js';
import type { GuardedBacking } from './guarded-backing.js';

/** What a mount may say of an image; operations may also refuse for their own reasons. */
const MOUNT_CODES: readonly ErrorCode[] = ['EBADMSG', 'EUCLEAN', 'EOPNOTSUPP', 'EINVAL', 'EIO'];
const REFUSALS =
  'EBUSY EEXIST EFBIG EISDIR ELOOP EMLINK ENAMETOOLONG ENODATA ENOENT ENOSPC ENOTDIR ENOTEMPTY ' +
  'ENXIO EPERM ERANGE EROFS';
const OPERATION_CODES: readonly string[] = [...MOUNT_CODES, ...REFUSALS.split(' ')];
/** What damage is reported of: all that ext4 keeps in blocks of its own. */
const STRUCTURES =
  /superblock|group|bitmap|inode|extent|tree|director|index|attribute|xattr|orphan|journal|symlink|block \d/i;

const ENTRIES_MAX = 1500;
const DIRECTORIES_MAX = 60;
const BUFFER_BYTES = 8192;
const STREAM_BYTES = 16_384;
const CHANGES = 12;
const CUT_ONE_IN = 4;
const COMPARED_ONE_IN = 8;

/** Something that a walk met. */
interface Met {
  readonly path: string;
  readonly inode: number;
  readonly type: string;
}

/** What one image brought about. */
export interface Outcome {
  /** Codes of what was refused, `ok` for what was not. */
  readonly codes: Map<string, number>;
  /** Code and message of each refusal. */
  readonly refusals: string[];
  /** What was warned of: damage that others do without. */
  readonly warnings: string[];
  /** What must never happen: anything thrown that is no DaxdError of the lists above. */
  readonly defects: string[];
}

/**
 * Mounts a mutated image read-only and reads all of it, then mounts it for writing, changes
 * it here and there and unmounts it; some of them once more as they were before the unmount,
 * as after a power cut. Every promise that this makes settles.
 */
export async function exercise(backing: GuardedBacking, random: SeededRandom): Promise<Outcome> {
  const outcome: Outcome = { codes: new Map(), refusals: [], warnings: [], defects: [] };
  const isCompared = random.below(COMPARED_ONE_IN) === 0;
  if (isCompared) backing.save();
  await new Run(outcome, random).all(backing, { readOnly: true, changes: 0 });
  if (isCompared && !backing.isAsSaved) outcome.defects.push('stored, mounted read-only');
  const isCut = random.below(CUT_ONE_IN) === 0;
  const writing = { readOnly: false, changes: CHANGES, isCut };
  await new Run(outcome, random).all(backing, writing);
  if (isCut) await new Run(outcome, random).all(backing, { readOnly: false, changes: 2 });
  outcome.defects.push(...backing.trespasses.map((range) => `reached for bytes ${range}`));
  if (!backing.isCanaryWhole) outcome.defects.push('stored outside the partition');
  return outcome;
}

/** How an image is mounted once. */
interface RunOptions {
  readonly readOnly: boolean;
  readonly changes: number;
  /** Leaves the media as they were before the unmount. */
  readonly isCut?: boolean;
}

class Run {
  readonly #outcome: Outcome;
  readonly #random: SeededRandom;
  readonly #met: Met[] = [];
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);

  constructor(outcome: Outcome, random: SeededRandom) {
    this.#outcome = outcome;
    this.#random = random;
  }

  async all(
    backing: GuardedBacking,
    { readOnly, changes, isCut = false }: RunOptions,
  ): Promise<void> {
    const warn = (_: unknown, message: string): void => {
      this.#outcome.warnings.push(message);
    };
    const log = { ...silentLogger, warn };
    const options = { readOnly, layouts: layoutsOf(), log, clock: systemClock };
    const fs = await this.#try('mount', () => mountExt4(backing.partition, options), MOUNT_CODES);
    if (fs === undefined) return;
    await this.#walk(fs, readOnly);
    for (let i = 0; i < changes; i++) await this.#change(fs, i);
    if (isCut) backing.save();
    await this.#try('unmount', () => fs.unmount(), MOUNT_CODES);
    if (isCut) backing.restore();
  }

  async #walk(fs: Ext4, isDeep: boolean): Promise<void> {
    const root = await this.#try('lookup of the root', () => fs.lookup(''));
    if (root === undefined) return;
    await this.#try('statfs', () => fs.statfs());
    const waiting: Met[] = [{ path: '', inode: root, type: 'directory' }];
    const seen = new Set<number>();
    let entries = 0;
    for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) {
      if (seen.has(at.inode)) continue;
      seen.add(at.inode);
      const { path, inode } = at;
      const type = await this.#look(fs, at, isDeep);
      if (type !== 'directory' || seen.size > DIRECTORIES_MAX + this.#met.length) continue;
      await this.#try(`readdir of inode ${inode}`, () => {
        for (const entry of fs.readdir(inode)) {
          if (++entries > ENTRIES_MAX) return;
          const name = entry.name.toString('utf8');
          const below = path === '' ? name : `${path}/${name}`;
          waiting.push({ path: below, inode: entry.inode, type: entry.type });
        }
      });
    }
    for (let i = 0; i < 4; i++) {
      const met = this.#random.pick(this.#met);
      if (met) await this.#try(`lookup of ${met.path}`, () => fs.lookup(met.path));
    }
  }

  /** What can be asked about one inode, all of it when `isDeep`; gives its type. */
  async #look(fs: Ext4, met: Met, isDeep: boolean): Promise<string | undefined> {
    const { inode } = met;
    const stat = await this.#try(`stat of inode ${inode}`, () => fs.stat(inode));
    if (stat === undefined) return undefined;
    this.#met.push({ ...met, type: stat.type });
    if (!isDeep) return stat.type;
    await this.#try(`attributes of inode ${inode}`, () => {
      for (const name of fs.listXattrs(inode)) fs.getXattr(inode, name);
    });
    if (stat.type === 'file') await this.#readContent(fs, inode, stat.size);
    return stat.type;
  }

  async #readContent(fs: Ext4, inode: number, size: number): Promise<void> {
    const extents = (await this.#try(`extents of inode ${inode}`, () => fs.extents(inode))) ?? [];
    const starts = extents.map(({ fileOffset }) => fileOffset);
    const target = this.#buffer.subarray(0, 4096);
    for (const offset of [...starts.slice(0, 3), ...starts.slice(-3), size - 10, size, 2 ** 43]) {
      if (offset < 0) continue;
      await this.#try(`read of inode ${inode}`, () => fs.read(inode, offset, target));
    }
    await this.#try(`stream of inode ${inode}`, async () => {
      for await (const piece of fs.readStream(inode, 0, STREAM_BYTES)) piece.fill(0);
    });
    await this.#try(`search in inode ${inode}`, () => [
      fs.seekData(inode, 0),
      fs.seekHole(inode, 0),
    ]);
  }

  async #change(fs: Ext4, i: number): Promise<void> {
    const { path, inode } = this.#pick('file');
    const directory = this.#pick('directory').path;
    const other = this.#pick('').path;
    const within = directory === '' ? `new-${i}` : `${directory}/new-${i}`;
    const at = this.#random.below(30) * 1000;
    const change = { keepSize: this.#random.below(2) === 0 };
    const bytes = this.#buffer.subarray(0, 6000);
    const blocks = 4096 * (1 + this.#random.below(3));
    const changes: Readonly<Record<string, () => Promise<unknown>>> = {
      create: () => fs.create(within),
      mkdir: () => fs.mkdir(within),
      mknod: () => fs.mknod(within, { type: 'fifo', mode: 0o600 }),
      symlink: () => fs.symlink(within, 'to/'.repeat(1 + this.#random.below(40))),
      link: () => fs.link(path, within),
      unlink: () => fs.unlink(other),
      'unlink of a file': () => fs.unlink(path),
      rename: () => fs.rename(other, within),
      'rename over': () => fs.rename(path, other),
      write: () => fs.write(inode, at, bytes),
      append: () => fs.append(inode, bytes),
      truncate: () => fs.truncate(inode, at),
      'truncate to nothing': () => fs.truncate(inode, 0),
      punch: () => fs.punchHole(inode, at, 9000),
      zero: () => fs.zeroRange(inode, at, 9000, change),
      allocate: () => fs.fallocate(inode, at, 20_000, change),
      collapse: () => fs.collapseRange(inode, 4096, blocks),
      insert: () => fs.insertRange(inode, 4096, blocks),
      'prepare for writing': () => fs.prepareDma(inode, 0, 8192, 'write'),
      'set attribute': () => fs.setXattr(inode, 'user.new', bytes.subarray(0, at % 3000)),
      'remove attribute': () => fs.removeXattr(inode, 'user.large'),
      chmod: () => fs.setAttributes(inode, { mode: 0o640 }),
    };
    const name = this.#random.pick(Object.keys(changes)) ?? '';
    const body = changes[name];
    if (body) await this.#try(`${name}, inode ${inode}, ${path} and ${other}, ${within}`, body);
  }

  #pick(type: string): Met {
    const met = this.#met.filter((one) => type === '' || one.type === type);
    return this.#random.pick(met) ?? { path: 'none', inode: 12, type };
  }

  /** Runs one call. What it may be refused for counts; anything else is a defect. */
  async #try<T>(
    what: string,
    body: () => T | Promise<T>,
    allowed: readonly string[] = OPERATION_CODES,
  ): Promise<T | undefined> {
    const { codes, refusals, defects } = this.#outcome;
    const count = (code: string): void => void codes.set(code, (codes.get(code) ?? 0) + 1);
    try {
      const result = await body();
      count('ok');
      return result;
    } catch (error) {
      if (!(error instanceof DaxdError)) {
        defects.push(`${what}: ${error instanceof Error ? (error.stack ?? '') : String(error)}`);
        return undefined;
      }
      count(error.code);
      refusals.push(`${error.code}: ${error.message}`);
      const isDamage = error.code === 'EBADMSG' || error.code === 'EUCLEAN';
      const isNamed = !isDamage || STRUCTURES.test(error.message);
      if (!allowed.includes(error.code)) defects.push(`${what}: ${error.code}, ${error.message}`);
      else if (!isNamed) defects.push(`${what}: names no structure: ${error.message}`);
      return undefined;
    }
  }
}
