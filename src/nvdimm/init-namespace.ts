import { randomUUID } from 'node:crypto';

import { DaxdError } from '../lib/errno.js';
import type { Backing } from '../media/backing.js';
import { encodeInfoBlock, INFO_BLOCK_OFFSET } from './info-block.js';
import { isBlank } from './is-blank.js';
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

/**
 * Makes a namespace of a blank backing: an info block at offset 4096 for fsdax, nothing at
 * all for raw. Settles when it is durable.
 *
 * @throws DaxdError EEXIST when the backing is not blank, EROFS, EINVAL for a bad align or
 * uuid, ENXIO when the backing is too small.
 * @kernel nd_pfn_init (drivers/nvdimm/pfn_devs.c)
 */
export async function initNamespace(backing: Backing, options: InitOptions): Promise<void> {
  if (backing.readOnly) {
    throw new DaxdError(
      'EROFS',
      `${backing.path} is open read-only: drop --read-only to initialise`,
    );
  }
  const state = isBlank(backing);
  if (!state.blank) {
    throw new DaxdError(
      'EEXIST',
      `${backing.path} is not blank: ${state.what} at byte ${state.where}; to clear it for good, ` +
        'remove the file, or write zeros over its first and last 16 MiB',
    );
  }
  if (options.mode === 'raw') return;
  const { map, align, uuid = randomUUID() } = options;
  const block = encodeInfoBlock(
    ndPfnCreate({ map, align, uuid, namespaceBytes: backing.sizeBytes }),
  );
  backing.checkSize();
  backing.mapping.write(INFO_BLOCK_OFFSET, block);
  await backing.persist(INFO_BLOCK_OFFSET, block.length);
}
