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
  /** `dev` sets room for page structures aside in the namespace, `mem` does not. */
  readonly map: 'dev' | 'mem';
  /** A power of two from 4096 on: 4K, 2M or 1G. */
  readonly align: number;
  readonly uuid: string;
  readonly namespaceBytes: number;
}

/**
 * Plans the info block of an fsdax namespace that begins at physical address 0, as a backing
 * does, as the kernel from 5.4 on and ndctl do. The field `align` keeps what was asked; the
 * geometry is rounded to 2 MiB at least.
 *
 * @throws DaxdError EINVAL when the align is no power of two from 4096 on; ENXIO when no
 * data page would fit.
 * @kernel nd_pfn_init (drivers/nvdimm/pfn_devs.c)
 */
export function ndPfnCreate(options: CreateOptions): PfnSuperblock {
  const { map, align, uuid, namespaceBytes: size } = options;
  if (align < PAGE_SIZE || !Number.isInteger(Math.log2(align))) {
    throw new DaxdError('EINVAL', `align ${align} is no power of two from ${PAGE_SIZE} on: use 2M`);
  }
  const unit = Math.max(align, PMD_SIZE);
  const endTrunc = size % unit;
  const pages = Math.max(0, Math.floor((size - INFO_BLOCK_RESERVE_BYTES) / PAGE_SIZE));
  const pageStructs = map === 'dev' ? PAGE_STRUCT_BYTES * pages : 0;
  const dataoff = roundUp(INFO_BLOCK_RESERVE_BYTES + pageStructs, unit);
  const npfns = Math.floor((size - dataoff - endTrunc) / PAGE_SIZE);
  if (npfns <= 0) {
    throw new DaxdError(
      'ENXIO',
      `${size} bytes leave no data page after ${dataoff} bytes of header and ` +
        `${endTrunc} cut off for align ${align}: take a larger backing or a smaller align`,
    );
  }
  assert(dataoff >= INFO_BLOCK_RESERVE_BYTES, 'data lies behind the info block');
  return {
    signature: InfoBlockSignature.Pfn,
    uuid,
    parentUuid: ZERO_UUID,
    flags: 0,
    versionMajor: 1,
    versionMinor: 4,
    dataoff,
    npfns,
    mode: map === 'dev' ? PfnMode.Pmem : PfnMode.Ram,
    startPad: 0,
    endTrunc,
    align,
    pageSize: PAGE_SIZE,
    pageStructSize: PAGE_STRUCT_BYTES,
  };
}
