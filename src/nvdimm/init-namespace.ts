import { randomUUID } from 'node:crypto';

import { firstNonZero } from '../block/signature.js';
import { DaxdError } from '../lib/errno.js';
import { MIB, PAGE_SIZE } from '../lib/units.js';
import type { Backing } from '../media/backing.js';
import { BackingRange } from '../media/backing-range.js';
import { encodeInfoBlock, INFO_BLOCK_OFFSET } from './info-block.js';
import { endInit, isInitCut, markInit } from './init-mark.js';
import { BLANK_ENDS_BYTES, isBlank } from './is-blank.js';
import { ndPfnCreate } from './nd-pfn-create.js';

/** What a new namespace should be. */
export interface InitOptions {
  readonly mode: 'fsdax' | 'raw';
  /** Where the kernel will keep page structures: in the namespace, or in memory. */
  readonly map: 'dev' | 'mem';
  /** 4K, 2M or 1G, in bytes. */
  readonly align: number;
  /** Random by default. */
  readonly uuid?: string;
}

/** A table lies within this much of each end of a disk. */
const TABLE_BYTES = MIB;

/**
 * Makes a namespace of a blank backing: an info block at offset 4096 for fsdax, nothing at
 * all for raw. One whose initialisation was cut short is taken for blank. An fsdax backing is
 * marked as unfinished until {@link endInit}. Settles when it is durable.
 *
 * @throws DaxdError EEXIST when the backing is not blank, EROFS, EINVAL for a bad align or
 * uuid, ENXIO when the backing is too small: nothing is written then. EIO.
 * @kernel nd_pfn_init (drivers/nvdimm/pfn_devs.c)
 */
export async function initNamespace(backing: Backing, options: InitOptions): Promise<void> {
  refuseUnlessBlank(backing);
  if (options.mode === 'raw') {
    if (isInitCut(backing)) await clearEnds(backing);
    return;
  }
  const { map, align, uuid = randomUUID() } = options;
  const plan = ndPfnCreate({ map, align, uuid, namespaceBytes: backing.sizeBytes });
  const block = encodeInfoBlock(plan);
  await markInit(backing);
  const start = plan.startPad + plan.dataoff;
  const end = start + plan.npfns * PAGE_SIZE;
  await clear(backing, start, TABLE_BYTES);
  await clear(backing, Math.max(start, end - TABLE_BYTES), TABLE_BYTES);
  backing.mapping.write(INFO_BLOCK_OFFSET, block);
  await backing.persist(INFO_BLOCK_OFFSET, block.length);
}

function refuseUnlessBlank(backing: Backing): void {
  const { path } = backing;
  if (backing.readOnly) {
    throw new DaxdError('EROFS', `${path} is open read-only: drop --read-only to initialise`);
  }
  if (isInitCut(backing)) return;
  const state = isBlank(backing);
  if (state.blank) return;
  throw new DaxdError(
    'EEXIST',
    `${path} is not blank: ${state.what} at byte ${state.where}; to clear it for good, ` +
      'remove the file, or write zeros over its first and last 16 MiB',
  );
}

/** Makes blank what an initialisation for fsdax left that was cut short; the mark goes last. */
async function clearEnds(backing: Backing): Promise<void> {
  const { sizeBytes } = backing;
  await clear(backing, INFO_BLOCK_OFFSET, BLANK_ENDS_BYTES);
  await clear(backing, Math.max(INFO_BLOCK_OFFSET, sizeBytes - BLANK_ENDS_BYTES), BLANK_ENDS_BYTES);
  await endInit(backing);
}

/** A table of an initialisation that was cut short, or of what lay there long ago, would be found. */
async function clear(backing: Backing, from: number, length: number): Promise<void> {
  const range = new BackingRange(backing, from, Math.min(length, backing.sizeBytes - from));
  if (firstNonZero(range, 0, range.length) === undefined) return;
  range.fill(0, range.length, 0);
  await range.persist(0, range.length);
}
