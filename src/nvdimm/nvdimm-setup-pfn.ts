import type { PhysRange } from '../base/mem-regions.js';
import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { PAGE_SIZE } from '../lib/units.js';
import { INFO_BLOCK_RESERVE_BYTES, PfnMode, type PfnSuperblock } from './info-block.js';
import type { NdNamespace } from './nd-namespace.js';

/** What an info block means for the attach. */
export interface PfnSetup {
  /** The namespace less both pads. */
  readonly range: PhysRange;
  /** Bytes of `range` before the first data byte. */
  readonly dataOffset: number;
  /** Data pages that count. */
  readonly npfns: number;
}

/**
 * Turns a valid info block into the range of the pagemap. With `map=dev` the number of data
 * pages follows from the geometry, whatever the block says. The page structures on the media
 * are volatile: nobody reads them.
 *
 * @throws DaxdError EINVAL when data would lie on the info block; EOPNOTSUPP when no data
 * page is left.
 * @kernel nvdimm_setup_pfn, __nvdimm_setup_pfn (drivers/nvdimm/pfn_devs.c)
 */
export function nvdimmSetupPfn(namespace: NdNamespace, sb: PfnSuperblock, log: Logger): PfnSetup {
  const { dataoff, startPad, endTrunc } = sb;
  const range = { start: startPad, length: namespace.sizeBytes - startPad - endTrunc };
  if (dataoff < INFO_BLOCK_RESERVE_BYTES) {
    throw new DaxdError(
      'EINVAL',
      `info block: dataoff ${dataoff} puts data on the first ${INFO_BLOCK_RESERVE_BYTES} bytes, ` +
        'which the block needs; make the namespace anew with ndctl',
    );
  }
  const fitting = Math.floor((range.length - dataoff) / PAGE_SIZE);
  const npfns = sb.mode === PfnMode.Pmem ? fitting : Math.min(sb.npfns, fitting);
  if (npfns <= 0) {
    throw new DaxdError(
      'EOPNOTSUPP',
      `info block: npfns ${sb.npfns} with dataoff ${dataoff} leaves no data page in ${range.length} ` +
        'bytes; make the namespace anew with ndctl on a larger backing',
    );
  }
  if (sb.npfns > fitting) {
    log.info(
      { backing: namespace.backing.path, npfns: sb.npfns, fitting },
      'the info block names more pages than the namespace has: those that fit are used',
    );
  }
  return { range, dataOffset: dataoff, npfns };
}
