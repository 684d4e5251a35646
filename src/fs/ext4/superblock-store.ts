import { UUID_BYTES } from '../../lib/uuid.js';
import type { BackingRange } from '../../media/backing-range.js';
import { SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, SuperField } from './layout.js';
import { isSuperblockWhole } from './superblock.js';

/** Where in the first block a copy of the superblock stands while the superblock is stored. */
const SHADOW_OFFSET = 2048;

/**
 * Stores a sealed superblock, durably; a power cut leaves the old one or the new one. Its
 * checksum lies in another cache line than its fields: so a copy stands in the unused part of
 * the same block meanwhile. And only meanwhile, for once somebody else changes the superblock
 * it says nothing. Nothing else may store to that block at the same time.
 *
 * @throws DaxdError EIO
 */
export async function storeSuperblockBytes(range: BackingRange, bytes: Buffer): Promise<void> {
  await mendTorn(range);
  range.write(SHADOW_OFFSET, bytes);
  await range.persist(SHADOW_OFFSET, SUPERBLOCK_SIZE);
  range.write(SUPERBLOCK_OFFSET, bytes);
  await range.persist(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE);
  range.fill(SHADOW_OFFSET, SUPERBLOCK_SIZE, 0);
  await range.persist(SHADOW_OFFSET, SUPERBLOCK_SIZE);
}

/** A copy that stands for a superblock torn by a power cut cannot be overwritten: it is all there is. */
async function mendTorn(range: BackingRange): Promise<void> {
  const torn = Buffer.alloc(SUPERBLOCK_SIZE);
  range.read(SUPERBLOCK_OFFSET, torn);
  const whole = loadSuperblockBytes(range);
  if (whole.equals(torn)) return;
  range.write(SUPERBLOCK_OFFSET, whole);
  await range.persist(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE);
}

/** The superblock as it stands there, or the copy left by a power cut that tore it. */
export function loadSuperblockBytes(range: BackingRange): Buffer {
  const bytes = Buffer.alloc(SUPERBLOCK_SIZE);
  range.read(SUPERBLOCK_OFFSET, bytes);
  if (isSuperblockWhole(bytes) || range.length < SHADOW_OFFSET + SUPERBLOCK_SIZE) return bytes;
  const shadow = Buffer.alloc(SUPERBLOCK_SIZE);
  range.read(SHADOW_OFFSET, shadow);
  return isSuperblockWhole(shadow) && uuidOf(shadow).equals(uuidOf(bytes)) ? shadow : bytes;
}

function uuidOf(superblock: Buffer): Buffer {
  return superblock.subarray(SuperField.Uuid, SuperField.Uuid + UUID_BYTES);
}
