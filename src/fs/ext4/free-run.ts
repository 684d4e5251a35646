import { PAGES_PER_PMD } from '../../lib/units.js';
import type { BlockRun } from '../block-run.js';
import { freeRuns } from './bitmap.js';
import { readBlockBitmap } from './group-bitmaps.js';
import { readGroup } from './group.js';
import { BLOCK_SIZE } from './layout.js';
import { Transaction } from './transaction.js';
import type { BlockSource } from './transaction.js';
import type { Volume } from './volume.js';

/** What is looked for. */
export interface RunRequest {
  /** Block to be near to, best to begin at. */
  readonly goal: number;
  readonly count: number;
  /**
   * Logical block of the file that the run's first block becomes. With 512 blocks or more
   * the run is then placed so that 2 MiB pages of file and backing coincide.
   */
  readonly logical?: number | undefined;
}

/** Groups looked at once a run was found that is shorter than asked for. */
const SHORT_RUN_GROUPS_MAX = 64;

/**
 * Finds free blocks: all that are asked for in one run where there is such a run, else a
 * long one. Near the goal first, then through the groups after it, then those before.
 * Undefined when no block is free. A group whose bitmap is damaged is passed over.
 *
 * Free means: clear in the bitmap as the media and as `source` have it (blocks that a
 * transaction frees are not its own to reuse), and not reserved.
 */
export function findFreeRun(
  source: BlockSource,
  volume: Volume,
  request: RunRequest,
): BlockRun | undefined {
  if (request.logical !== undefined && request.count >= PAGES_PER_PMD) {
    const aligned = searchGroups(source, volume, request, alignedPart);
    if (aligned !== undefined) return aligned;
  }
  return searchGroups(source, volume, request, anyPart);
}

/** The part of a free run that will do, at most what is asked for; undefined when none will. */
type Choose = (volume: Volume, run: BlockRun, request: RunRequest) => BlockRun | undefined;

function searchGroups(
  source: BlockSource,
  volume: Volume,
  request: RunRequest,
  choose: Choose,
): BlockRun | undefined {
  const { groupCount, blocksPerGroup } = volume.superblock;
  const goalGroup = Math.min(groupCount - 1, Math.floor(request.goal / blocksPerGroup));
  let best: BlockRun | undefined;
  let groupsLeft = SHORT_RUN_GROUPS_MAX;
  // The goal's own group comes twice: from the goal on first, as a whole at the end.
  for (let i = 0; i <= groupCount && groupsLeft > 0; i++) {
    const group = (goalGroup + i) % groupCount;
    const skip = i === 0 ? Math.max(0, request.goal - group * blocksPerGroup) : 0;
    const found = searchGroup(source, volume, { group, skip, request, choose });
    if (found !== undefined && found.count >= request.count) return found;
    if (found !== undefined && found.count > (best?.count ?? 0)) best = found;
    if (best !== undefined) groupsLeft--;
  }
  return best;
}

interface GroupSearch {
  readonly group: number;
  /** Blocks of the group that are passed over. */
  readonly skip: number;
  readonly request: RunRequest;
  readonly choose: Choose;
}

function searchGroup(
  source: BlockSource,
  volume: Volume,
  search: GroupSearch,
): BlockRun | undefined {
  const { group, skip, request, choose } = search;
  const { freeBlocks } = readGroup(source, volume, group);
  if (freeBlocks === 0) return undefined;
  const start = volume.superblock.groupStart(group);
  const read = (): Buffer => usedBits(source, volume, group);
  const bits = volume.damaged.blocks.read(group, freeBlocks, read);
  if (bits === undefined) return undefined;
  const end = volume.superblock.groupBlocks(group);
  // Whatever part of a run is chosen, what lies behind this many blocks makes no difference.
  const longest = request.count + PAGES_PER_PMD;
  let best: BlockRun | undefined;
  for (const { first, length } of freeRuns(bits, skip, end, longest)) {
    const part = choose(volume, { start: start + first, count: length }, request);
    if (part === undefined) continue;
    if (part.count >= request.count) return part;
    if (part.count > (best?.count ?? 0)) best = part;
  }
  return best;
}

function anyPart(_volume: Volume, run: BlockRun, { count }: RunRequest): BlockRun {
  return { start: run.start, count: Math.min(run.count, count) };
}

/**
 * The part that begins where the file's 2 MiB pages and the backing's coincide. Where it is
 * too short it ends at the end of such a page, so that the next run can go on like that.
 */
function alignedPart(volume: Volume, run: BlockRun, request: RunRequest): BlockRun | undefined {
  const logical = request.logical ?? 0;
  const wanted = (logical + volume.pmdPhase) % PAGES_PER_PMD;
  const lead = (wanted - (run.start % PAGES_PER_PMD) + PAGES_PER_PMD) % PAGES_PER_PMD;
  const usable = Math.min(run.count - lead, request.count);
  if (usable < PAGES_PER_PMD) return undefined;
  if (usable === request.count) return { start: run.start + lead, count: usable };
  const whole = usable - ((logical + usable) % PAGES_PER_PMD);
  return { start: run.start + lead, count: whole > 0 ? whole : usable };
}

/** A bitmap of what may not be taken: used, freed by this transaction, or reserved. */
function usedBits(source: BlockSource, volume: Volume, group: number): Buffer {
  const current = readBlockBitmap(source, volume, group);
  const isChanged =
    source instanceof Transaction &&
    source.changes.has(readGroup(source, volume, group).blockBitmap);
  const before = isChanged ? readBlockBitmap(volume, volume, group) : current;
  const reserved = volume.reservations.bits(group);
  if (before === current && reserved === undefined) return current;
  scratch.set(current);
  if (before !== current) addBits(before);
  if (reserved !== undefined) addBits(reserved);
  return scratch;
}

/** One search runs at a time and uses it up before the next one starts. */
const scratch = Buffer.from(new ArrayBuffer(BLOCK_SIZE));
const scratchWords = new Uint32Array(scratch.buffer);

/** Sets the bits of a bitmap in the scratch one too. */
function addBits(bits: Buffer): void {
  // The order of the bytes in a word makes no difference here.
  const isAligned = bits.byteOffset % 4 === 0;
  const aligned = isAligned ? bits : Buffer.from(new Uint8Array(bits).buffer);
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, scratchWords.length);
  for (let i = 0; i < scratchWords.length; i++) {
    scratchWords[i] = (scratchWords[i] ?? 0) | (words[i] ?? 0);
  }
}
