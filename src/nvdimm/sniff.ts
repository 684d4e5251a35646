import { DaxdError } from '../lib/errno.js';
import type { Logger } from '../lib/logger.js';
import { MIB } from '../lib/units.js';
import { BTT_SIGNATURE, BTT_SIGNATURE_OFFSETS } from './btt-signature.js';
import {
  INFO_BLOCK_BYTES,
  INFO_BLOCK_OFFSET,
  INFO_BLOCK_RESERVE_BYTES,
  InfoBlockSignature,
  infoBlockSignature,
  type PfnSuperblock,
} from './info-block.js';
import type { NdNamespace } from './nd-namespace.js';
import { ndPfnValidate } from './nd-pfn-validate.js';

/** The kernel makes and reads no smaller BTT. */
const BTT_BYTES_MIN = 16 * MIB;

/**
 * Looks for a block translation table, of which daxd has no driver. The signature alone
 * refuses: behind it every sector lies elsewhere than its number says.
 *
 * @throws DaxdError ENODEV without the signature, EOPNOTSUPP with it.
 * @kernel nd_btt_probe (drivers/nvdimm/btt_devs.c)
 */
export function ndBttProbe(namespace: NdNamespace): never {
  if (namespace.sizeBytes >= BTT_BYTES_MIN) {
    for (const offset of BTT_SIGNATURE_OFFSETS) {
      if (!namespace.readBytes(offset, BTT_SIGNATURE.length).equals(BTT_SIGNATURE)) continue;
      throw new DaxdError(
        'EOPNOTSUPP',
        `${namespace.backing.path} holds a BTT (signature at byte ${offset}), which daxd does not ` +
          'drive: attach it in a kernel, or make an fsdax namespace with ndctl',
      );
    }
  }
  throw new DaxdError('ENODEV', 'no BTT signature');
}

/**
 * Looks for the info block of an fsdax namespace.
 *
 * @throws DaxdError as `ndPfnValidate`. ENODEV means that there is none; where a block is
 * there and only spoilt, a warning says so first, for what comes next hides its data.
 * @kernel nd_pfn_probe (drivers/nvdimm/pfn_devs.c)
 */
export function ndPfnProbe(namespace: NdNamespace, log: Logger): PfnSuperblock {
  return probeInfoBlock(namespace, InfoBlockSignature.Pfn, log);
}

/**
 * Looks for the info block of a devdax namespace, which has no disk to offer.
 *
 * @throws DaxdError ENODEV without a valid block, EOPNOTSUPP with one.
 * @kernel nd_dax_probe (drivers/nvdimm/dax_devs.c)
 */
export function ndDaxProbe(namespace: NdNamespace, log: Logger): never {
  const sb = probeInfoBlock(namespace, InfoBlockSignature.Dax, log);
  throw new DaxdError(
    'EOPNOTSUPP',
    `${namespace.backing.path} is a devdax namespace (uuid ${sb.uuid}), which has no disk: open ` +
      'its /dev/dax node in a kernel and give that as the backing, or make it anew with ndctl -m fsdax',
  );
}

function probeInfoBlock(
  namespace: NdNamespace,
  signature: InfoBlockSignature,
  log: Logger,
): PfnSuperblock {
  const { sizeBytes: namespaceBytes, backing } = namespace;
  if (namespaceBytes < INFO_BLOCK_RESERVE_BYTES) {
    throw new DaxdError('ENODEV', `${namespaceBytes} bytes hold no info block`);
  }
  const block = namespace.readBytes(INFO_BLOCK_OFFSET, INFO_BLOCK_BYTES);
  try {
    return ndPfnValidate(block, { signature, namespaceBytes });
  } catch (error) {
    const isSpoilt =
      error instanceof DaxdError &&
      error.code === 'ENODEV' &&
      infoBlockSignature(block) === signature;
    if (isSpoilt) {
      log.warn(
        { backing: backing.path, signature, offset: INFO_BLOCK_OFFSET, problem: error.message },
        'an info block is there but does not count: the kernel would attach raw and so does ' +
          'daxd, and the data of its namespace is not where a raw disk looks for it; nothing ' +
          'was written',
      );
    }
    throw error;
  }
}
