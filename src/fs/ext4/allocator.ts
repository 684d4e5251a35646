import type { BrokenLayout } from '../../dax/broken-layout.js';
import { DaxdError } from '../../lib/errno.js';
import { groupParts } from '../block-run.js';
import type { BlockRun } from '../block-run.js';
import { damaged } from '../damage.js';
import { clearBits, setBits } from './bitmap.js';
import { pagesOf } from './block-pages.js';
import { findFreeRun } from './free-run.js';
import type { RunRequest } from './free-run.js';
import { countFreeBlocks, modifyBlockBitmap } from './group-bitmaps.js';
import { modifyGroup } from './group.js';
import type { Inode } from './inode.js';
import type { Transaction } from './transaction.js';
import type { Volume } from './volume.js';

/** Says that blocks held metadata, which nobody can have pinned: directories, trees, attributes. */
export const METADATA: unique symbol = Symbol('metadata');

/** Leave to free blocks: file data takes a broken layout. */
export type FreeLeave = BrokenLayout | typeof METADATA;

/** What the blocks of an inode may be freed with: only those of a file may be lent. */
export function leaveOf<L extends BrokenLayout | undefined>(
  inode: Inode,
  layout: L,
): L | typeof METADATA {
  return inode.type === 'file' ? layout : METADATA;
}

/**
 * Blocks taken in memory for data that is stored before any metadata names it. They belong
 * to whoever reserved them until a transaction claims them and is committed, or until they
 * are released; a crash in between leaves them free.
 */
export class Reservation {
  readonly #volume: Volume;
  #runs: BlockRun[];
  #state: 'held' | 'done' = 'held';

  constructor(volume: Volume, runs: BlockRun[]) {
    this.#volume = volume;
    this.#runs = runs;
  }

  /** In the order in which they were asked for: the file's. */
  get runs(): readonly BlockRun[] {
    return this.#runs;
  }

  /** Marks the blocks as used; they stop being reserved when that is committed. */
  claim(txn: Transaction): void {
    for (const run of this.#runs) markUsed(txn, this.#volume, run);
    txn.onStored(() => {
      this.release();
    });
  }

  /** Gives back all but the first `count` blocks. */
  trim(count: number): void {
    let left = count;
    const kept: BlockRun[] = [];
    for (const run of this.#runs) {
      const keep = Math.min(run.count, left);
      left -= keep;
      if (keep > 0) kept.push({ start: run.start, count: keep });
      const cut = { start: run.start + keep, count: run.count - keep };
      if (cut.count > 0) this.#volume.reservations.remove(cut);
    }
    this.#runs = kept;
  }

  /** Gives the blocks back, unless that was done or they were claimed. */
  release(): void {
    if (this.#state === 'done') return;
    this.#state = 'done';
    for (const run of this.#runs) this.#volume.reservations.remove(run);
  }
}

/**
 * Reserves `count` blocks in as few runs as there are. What the filesystem keeps back
 * (s_r_blocks_count) stays free: clients are not root. A freeing change that needs a tree
 * block still gets one.
 *
 * @throws DaxdError ENOSPC, and then none is reserved
 */
export function reserveBlocks(volume: Volume, request: RunRequest): Reservation {
  assertAvailable(volume, request.count);
  const runs: BlockRun[] = [];
  const reservation = new Reservation(volume, runs);
  try {
    let { goal, count, logical } = request;
    while (count > 0) {
      const run = findFreeRun(volume, volume, { goal, count, logical });
      if (run === undefined) throw outOfSpace(volume, request.count);
      volume.reservations.add(run);
      runs.push(run);
      goal = run.start + run.count;
      count -= run.count;
      if (logical !== undefined) logical += run.count;
    }
    return reservation;
  } catch (error) {
    reservation.release();
    throw error;
  }
}

/**
 * Takes blocks for metadata within a transaction: one run, which may be shorter than asked.
 *
 * @throws DaxdError ENOSPC
 */
export function allocateBlocks(txn: Transaction, volume: Volume, request: RunRequest): BlockRun {
  const run = findFreeRun(txn, volume, request);
  if (run === undefined) throw outOfSpace(volume, request.count);
  markUsed(txn, volume, run);
  return run;
}

/**
 * Frees blocks. They can be taken again once the transaction is durable.
 *
 * @throws DaxdError EUCLEAN when they are not all in use, pinned through another file, or are the filesystem's own tables
 * @kernel ext4_free_blocks (fs/ext4/mballoc.c)
 */
export function freeBlocks(
  txn: Transaction,
  volume: Volume,
  run: BlockRun,
  leave: FreeLeave,
): void {
  assertData(volume, run);
  if (leave === METADATA) assertUnpinned(volume, run);
  else {
    txn.requireIdle(leave);
    leave.assertIdleRun(pagesOf(volume, run));
  }
  for (const { group: number, first, count } of groupParts(volume.superblock, run)) {
    const group = modifyGroup(txn, volume, number);
    const bits = modifyBlockBitmap(txn, volume, group);
    if (clearBits(bits, first, count) !== count) {
      throw damaged(`block bitmap of group ${number}: blocks to be freed are free already`);
    }
    countFreeBlocks(txn, volume, group, count);
  }
  if (leave === METADATA) {
    for (let block = run.start; block < run.start + run.count; block++) txn.forget(block);
  }
  volume.holdFreed(txn, run);
}

/** Metadata is never lent: where a page of it is pinned, damaged media give it to a file too. */
function assertUnpinned(volume: Volume, run: BlockRun): void {
  const pfn = volume.layouts.firstPinned(pagesOf(volume, run));
  if (pfn === undefined) return;
  throw damaged(
    `blocks ${run.start} to ${run.start + run.count} are metadata, and page ${pfn} of them is pinned through a file`,
  );
}

function markUsed(txn: Transaction, volume: Volume, run: BlockRun): void {
  assertData(volume, run);
  for (const { group: number, first, count } of groupParts(volume.superblock, run)) {
    const group = modifyGroup(txn, volume, number);
    const bits = modifyBlockBitmap(txn, volume, group);
    if (setBits(bits, first, count) !== count) {
      throw damaged(`block bitmap of group ${number}: blocks to be taken are in use`);
    }
    countFreeBlocks(txn, volume, group, -count);
  }
}

function assertData(volume: Volume, run: BlockRun): void {
  volume.assertBlocks(run.start, run.count, 'extent');
  if (!volume.systemZone.overlaps(run.start, run.count)) return;
  throw damaged(
    `blocks ${run.start} to ${run.start + run.count} belong to the filesystem's tables`,
  );
}

/**
 * Refuses data that there are too few blocks for, before anything is reserved or changed.
 *
 * @throws DaxdError ENOSPC
 */
export function assertAvailable(volume: Volume, count: number): void {
  if (count > availableBlocks(volume)) throw outOfSpace(volume, count);
}

/** What is free, promised to nobody, and not kept back: data stops there, metadata may go on. */
function availableBlocks({ free, damaged: { blocks }, reservations, superblock }: Volume): number {
  const usable = free.blocks - blocks.free;
  return Math.max(0, usable - reservations.count - superblock.reservedBlocks);
}

/** Where damaged groups have the blocks, what is wrong with these is the cause. */
function outOfSpace(volume: Volume, count: number): DaxdError {
  const { damage: cause, free } = volume.damaged.blocks;
  const { reservedBlocks } = volume.superblock;
  const available = availableBlocks(volume);
  const kept =
    reservedBlocks === 0 ? '' : `, ${reservedBlocks} more are kept back (see tune2fs -r)`;
  return new DaxdError(
    'ENOSPC',
    `${count} blocks are needed, ${available} are available${kept}: delete something first`,
    cause !== undefined && count <= available + free ? { cause } : undefined,
  );
}
