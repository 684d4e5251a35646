import { DaxdError } from '../../lib/errno.js';
import { featureNames } from '../feature-names.js';
import { INCOMPAT, RO_COMPAT } from './feature-words.js';
import {
  BLOCK_SIZE,
  CHECKSUM_CRC32C,
  FeatureCompat,
  FeatureIncompat,
  FeatureRoCompat,
  FsState,
  SuperField,
} from './layout.js';
import type { Superblock } from './superblock.js';

/** A reason not to write to it. */
export const ERRORS_FOUND = 'errors were found in it (run e2fsck -fy)';

const KNOWN_INCOMPAT =
  FeatureIncompat.Filetype |
  FeatureIncompat.Recover |
  FeatureIncompat.Extents |
  FeatureIncompat.Bit64 |
  FeatureIncompat.FlexBg |
  FeatureIncompat.ChecksumSeed;

const NEEDED_INCOMPAT = FeatureIncompat.Filetype | FeatureIncompat.Extents;

const KNOWN_RO_COMPAT =
  FeatureRoCompat.SparseSuper |
  FeatureRoCompat.LargeFile |
  FeatureRoCompat.HugeFile |
  FeatureRoCompat.DirNlink |
  FeatureRoCompat.ExtraIsize |
  FeatureRoCompat.MetadataCsum |
  FeatureRoCompat.OrphanPresent;

/**
 * Refuses what daxd cannot read without the danger of reading it wrongly.
 *
 * @throws DaxdError EOPNOTSUPP naming the features
 * @kernel ext4_feature_set_ok (fs/ext4/super.c)
 */
export function checkFeatures(sb: Superblock): void {
  const blockSize = 1024 * 2 ** sb.bytes.readUInt32LE(SuperField.LogBlockSize);
  if (blockSize !== BLOCK_SIZE) refuse(`block size ${blockSize}, only ${BLOCK_SIZE} is read`);
  if (sb.bytes.readUInt32LE(SuperField.RevLevel) === 0) refuse('revision 0');

  const unknown = (sb.incompat & ~KNOWN_INCOMPAT) >>> 0;
  if (unknown !== 0) refuse(`it has the features ${featureNames(unknown, INCOMPAT)}`);
  const missing = NEEDED_INCOMPAT & ~sb.incompat;
  if (missing !== 0) refuse(`made without the features ${featureNames(missing, INCOMPAT)}`);
  if ((sb.compat & FeatureCompat.SparseSuper2) !== 0) refuse('feature sparse_super2');
  if ((sb.roCompat & FeatureRoCompat.MetadataCsum) === 0) refuse('made without metadata_csum');
  const kind = sb.bytes.readUInt8(SuperField.ChecksumType);
  if (kind !== CHECKSUM_CRC32C) refuse(`checksum type ${kind}, only crc32c (1) is known`);
}

/** Why a filesystem may not be written to, each reason a part of a sentence; empty when it may. */
export function readOnlyReasons(sb: Superblock): string[] {
  const reasons: string[] = [];
  const unknown = (sb.roCompat & ~KNOWN_RO_COMPAT) >>> 0;
  if (unknown !== 0) {
    const names = featureNames(unknown, RO_COMPAT);
    reasons.push(`it has the features ${names}, with which it is only read`);
  }
  return [...reasons, ...repairReasons(sb)];
}

/** Whether its journal holds changes that are not in their place. */
export function needsRecovery(sb: Superblock): boolean {
  return (sb.incompat & FeatureIncompat.Recover) !== 0;
}

/** What somebody found wrong with it, or without a journal a mount that did not end well. */
function repairReasons(sb: Superblock): string[] {
  const reasons: string[] = [];
  if ((sb.state & FsState.Valid) === 0) reasons.push('it was not unmounted (run e2fsck -fy)');
  if ((sb.state & FsState.Error) !== 0) reasons.push(ERRORS_FOUND);
  return reasons;
}

function refuse(what: string): never {
  throw new DaxdError('EOPNOTSUPP', `superblock: ${what}; daxd does not mount this ext4`);
}
