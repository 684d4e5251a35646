import { firstNonZero, recogniseSignature } from '../block/signature.js';
import { MIB } from '../lib/units.js';
import type { Backing } from '../media/backing.js';
import { BackingRange } from '../media/backing-range.js';
import { BTT_SIGNATURE, BTT_SIGNATURE_OFFSETS } from './btt-signature.js';
import {
  INFO_BLOCK_BYTES,
  INFO_BLOCK_OFFSET,
  INFO_BLOCK_RESERVE_BYTES,
  InfoBlockSignature,
  infoBlockSignature,
} from './info-block.js';

/** How much of each end must be zero; a hole is. */
export const BLANK_ENDS_BYTES = 16 * MIB;

/** Whether a backing may be initialised, and if not, what lies where. */
export type Blankness =
  | { readonly blank: true }
  | {
      readonly blank: false;
      /** Such as `an fsdax info block`, or `data` when it is nothing known. */
      readonly what: string;
      /** Byte offset in the backing. */
      readonly where: number;
    };

/**
 * Looks at the first and last 16 MiB of a backing. Reads only.
 */
export function isBlank(backing: Backing): Blankness {
  const range = new BackingRange(backing, 0, backing.sizeBytes);
  const length = Math.min(BLANK_ENDS_BYTES, range.length);
  const byte = firstNonZero(range, 0, length) ?? firstNonZero(range, range.length - length, length);
  if (byte === undefined) return { blank: true };
  const known = namespaceSignature(range) ?? recogniseSignature(range);
  return { blank: false, what: known?.what ?? 'data', where: known?.offset ?? byte };
}

/**
 * What nvdimm itself puts at the start of a namespace: before all else, for it may stand among
 * the first bytes of a filesystem that lay there earlier.
 */
function namespaceSignature(
  range: BackingRange,
): { readonly what: string; readonly offset: number } | undefined {
  if (range.length < INFO_BLOCK_RESERVE_BYTES) return undefined;
  const block = Buffer.alloc(INFO_BLOCK_BYTES);
  range.read(INFO_BLOCK_OFFSET, block);
  const signature = infoBlockSignature(block);
  if (signature !== undefined) {
    const mode = signature === InfoBlockSignature.Pfn ? 'an fsdax' : 'a devdax';
    return { what: `${mode} info block`, offset: INFO_BLOCK_OFFSET };
  }
  const found = Buffer.alloc(BTT_SIGNATURE.length);
  for (const offset of BTT_SIGNATURE_OFFSETS) {
    range.read(offset, found);
    if (found.equals(BTT_SIGNATURE)) return { what: 'a BTT', offset };
  }
  return undefined;
}
