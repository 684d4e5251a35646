import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import { PAGE_SIZE, PMD_SIZE, roundUp } from '../lib/units.js';
import {
  INFO_BLOCK_RESERVE_BYTES,
  InfoBlockSignature,
  PAGE_STRUCT_BYTES,
  PfnMode,
  type PfnSuperblock,
  ZERO_UUID,
} from './info-block.js';

/** What a new info block is for. */
export interface CreateOptions {
  /** fsdax by default. */
  readonly signature?: InfoBlockSignature;
  /** `dev` sets room for page structures aside in the namespace, `mem` does not. */
  readonly map: 'dev' | 'mem';
  /** A power of two from 4096 on: 4K, 2M or 1G. */
  readonly align: number;
  readonly uuid: string;
  readonly parentUuid?: string;
  readonly namespaceBytes: number;
  /** Physical base of the namespace; 0, the default, for a backing. */
  readonly startBytes?: number;
}

/**
 * Plans the info block of a namespace as the kernel from 5.4 on and ndctl do. The field
 * `align` keeps what was asked; the geometry is rounded to 2 MiB at least.
 *
 * @throws DaxdError EINVAL when the align is no power of two from 4096 on; ENXIO when no
 * data page would fit.
 * @kernel nd_pfn_init (drivers/nvdimm/pfn_devs.c)
 */
export function ndPfnCreate(options: CreateOptions): PfnSuperblock {
  const { map, align, namespaceBytes: size, startBytes: start = 0 } = options;
  if (align < PAGE_SIZE || !Number.isInteger(Math.log2(align))) {
    throw new DaxdError('EINVAL', `align ${align} is no power of two from ${PAGE_SIZE} on: use 2M`);
  }
  const unit = Math.max(align, PMD_SIZE);
  const startPad = roundUp(start, unit) - start;
  const endTrunc = (start + size) % unit;
  const pages = Math.max(0, Math.floor((size - INFO_BLOCK_RESERVE_BYTES) / PAGE_SIZE));
  const pageStructs = map === 'dev' ? PAGE_STRUCT_BYTES * pages : 0;
  const dataoff = roundUp(start + INFO_BLOCK_RESERVE_BYTES + pageStructs, unit) - start;
  const npfns = Math.floor((size - startPad - dataoff - endTrunc) / PAGE_SIZE);
  if (npfns <= 0) {
    throw new DaxdError(
      'ENXIO',
      `${size} bytes leave no data page after ${dataoff} bytes of header, ${startPad} of padding and ` +
        `${endTrunc} cut off for align ${align}: take a larger backing or a smaller align`,
    );
  }
  assert(dataoff >= INFO_BLOCK_RESERVE_BYTES, 'data lies behind the info block');
  return {
    signature: options.signature ?? InfoBlockSignature.Pfn,
    uuid: options.uuid,
    parentUuid: options.parentUuid ?? ZERO_UUID,
    flags: 0,
    versionMajor: 1,
    versionMinor: 4,
    dataoff,
    npfns,
    mode: map === 'dev' ? PfnMode.Pmem : PfnMode.Ram,
    startPad,
    endTrunc,
    align,
    pageSize: PAGE_SIZE,
    pageStructSize: PAGE_STRUCT_BYTES,
  };
}
