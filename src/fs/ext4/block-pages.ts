import { PAGE_SIZE } from '../../lib/units.js';
import type { PfnRun } from '../../mm/gup.js';
import type { BlockRun } from '../block-run.js';
import { BLOCK_SIZE } from './layout.js';
import type { Volume } from './volume.js';

/** The pages that blocks of a filesystem are. */
export function pagesOf({ range }: Volume, { start, count }: BlockRun): PfnRun {
  return { firstPfn: Math.floor((range.start + start * BLOCK_SIZE) / PAGE_SIZE), count };
}

/** The blocks of a filesystem that pages are; the reverse of {@link pagesOf}. */
export function blocksOf({ range }: Volume, { firstPfn, count }: PfnRun): BlockRun {
  return { start: Math.ceil((firstPfn * PAGE_SIZE - range.start) / BLOCK_SIZE), count };
}
