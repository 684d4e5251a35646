import { DaxdError } from '../../lib/errno.js';
import type { BackingRange } from '../../media/backing-range.js';
import { checkFeatures, readOnlyReasons } from './feature-gate.js';
import { readGroup } from './group.js';
import type { Group } from './group.js';
import { BLOCK_SIZE, FsState, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, SuperField } from './layout.js';
import { checkGeometry, sealSuperblock, Superblock } from './superblock.js';
import { Volume } from './volume.js';
import type { VolumeOptions } from './volume.js';

/** What {@link openVolume} is told. */
export interface OpenVolumeOptions extends Pick<VolumeOptions, 'log' | 'clock' | 'layouts'> {
  readonly readOnly: boolean;
}

/** What the superblock is set to at mount and at unmount; otherwise it is left alone. */
interface SuperblockChange {
  readonly state: number;
  readonly mounts: 0 | 1;
}

/**
 * Opens the filesystem on a partition: verifies superblock, features, geometry and every
 * group descriptor, and counts what is free. For writing it clears the bit that says that
 * the filesystem was unmounted, durably, before anything else can change; that bit and the
 * counters come back with {@link closeVolume}. In between the superblock is not touched, for
 * its checksum lies in another cache line than its fields: a torn one is refused by the kernel.
 *
 * A filesystem that was not unmounted, needs its journal replayed or has features that forbid
 * writing is opened read-only, with a warning; not one byte of it changes then.
 *
 * @throws DaxdError EINVAL without an ext4, EOPNOTSUPP for its features, EBADMSG, EUCLEAN, EIO
 * @kernel ext4_fill_super (fs/ext4/super.c)
 */
export async function openVolume(range: BackingRange, options: OpenVolumeOptions): Promise<Volume> {
  const superblock = readSuperblock(range);
  const found = readOnlyReasons(superblock);
  const asked = options.readOnly ? ['asked for'] : [];
  const media = range.readOnly ? ['the backing is read-only'] : [];
  const { log, clock, layouts } = options;
  const volume = new Volume({
    range,
    superblock,
    readOnlyReasons: [...asked, ...media, ...found],
    log,
    clock,
    layouts,
  });
  loadGroups(volume);
  if (found.length > 0) {
    log.warn(
      { label: superblock.label, uuid: superblock.uuid, reasons: found },
      readOnlyWarning(found),
    );
  }
  if (!volume.readOnly) await clearValid(volume);
  return volume;
}

/**
 * Ends the use of a volume: refuses new changes, waits for those under way, then writes the
 * counters and the bit that says so, durably.
 *
 * @throws DaxdError EIO when the media fail, and then the filesystem counts as not unmounted
 * @kernel ext4_put_super (fs/ext4/super.c)
 */
export async function closeVolume(volume: Volume): Promise<void> {
  volume.startClosing();
  await volume.whenQuiet();
  // Once the media failed it is not known what they hold: the bit stays clear.
  if (volume.readOnly) return;
  const { state } = volume.superblock;
  await storeSuperblock(volume, { state: state | FsState.Valid, mounts: 0 });
}

/** @throws DaxdError as {@link openVolume} does */
function readSuperblock(range: BackingRange): Superblock {
  if (range.length < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE) {
    throw new DaxdError('EINVAL', `${range.length} bytes hold no filesystem`);
  }
  const bytes = Buffer.alloc(SUPERBLOCK_SIZE);
  range.read(SUPERBLOCK_OFFSET, bytes);
  const superblock = new Superblock(bytes);
  checkFeatures(superblock);
  checkGeometry(superblock, range.length);
  return superblock;
}

/** Verifies every descriptor, maps the filesystem's own tables, and adds up what is free. */
function loadGroups(volume: Volume): void {
  const { superblock, systemZone, free } = volume;
  for (let number = 0; number < superblock.groupCount; number++) {
    const group = readGroup(volume, volume, number);
    checkCounts(volume, group);
    free.blocks += group.freeBlocks * superblock.clusterBlocks;
    free.inodes += group.freeInodes;
    addTables(volume, group);
  }
  systemZone.seal();
}

function addTables(volume: Volume, group: Group): void {
  const { superblock, systemZone } = volume;
  const { number } = group;
  const name = `of group ${number}`;
  const tables = [
    { start: group.blockBitmap, count: 1, name: `block bitmap ${name}` },
    { start: group.inodeBitmap, count: 1, name: `inode bitmap ${name}` },
    { start: group.inodeTable, count: superblock.inodeTableBlocks, name: `inode table ${name}` },
  ];
  if (superblock.hasSuperCopy(number)) {
    const copy = 1 + superblock.gdtBlocks + superblock.reservedGdtBlocks;
    const count = Math.min(copy, superblock.groupBlocks(number));
    tables.push({ start: superblock.groupStart(number), count, name: `superblock ${name}` });
  }
  for (const table of tables) {
    volume.assertBlocks(table.start, table.count);
    systemZone.add(table.start, table.count, table.name);
  }
}

function checkCounts({ superblock }: Volume, group: Group): void {
  const { number, freeBlocks, freeInodes } = group;
  if (freeBlocks <= superblock.groupBlocks(number) && freeInodes <= superblock.inodesPerGroup)
    return;
  throw new DaxdError(
    'EUCLEAN',
    `group descriptor ${number}: ${freeBlocks} free blocks, ${freeInodes} free inodes; run e2fsck -fy`,
  );
}

async function clearValid(volume: Volume): Promise<void> {
  volume.range.backing.checkSize();
  await storeSuperblock(volume, { state: volume.superblock.state & ~FsState.Valid, mounts: 1 });
}

/** Stores the superblock as the media have it, with state, counters and times of now. */
async function storeSuperblock(volume: Volume, { state, mounts }: SuperblockChange): Promise<void> {
  const { range, clock, free } = volume;
  const bytes = Buffer.alloc(SUPERBLOCK_SIZE);
  range.read(SUPERBLOCK_OFFSET, bytes);
  const nowSeconds = Math.floor(clock.wallMs() / 1000) % 2 ** 32;
  bytes.writeUInt16LE(state, SuperField.State);
  bytes.writeUInt32LE(free.blocks % 2 ** 32, SuperField.FreeBlocksLo);
  bytes.writeUInt32LE(Math.floor(free.blocks / 2 ** 32), SuperField.FreeBlocksHi);
  bytes.writeUInt32LE(free.inodes, SuperField.FreeInodes);
  bytes.writeUInt32LE(nowSeconds, SuperField.WriteTime);
  if (mounts === 1) {
    bytes.writeUInt32LE(nowSeconds, SuperField.MountTime);
    const mountCount = bytes.readUInt16LE(SuperField.MountCount) + mounts;
    bytes.writeUInt16LE(mountCount % 65536, SuperField.MountCount);
  }
  sealSuperblock(bytes);
  range.write(SUPERBLOCK_OFFSET, bytes);
  await volume.persist(0, BLOCK_SIZE);
}

function readOnlyWarning(reasons: readonly string[]): string {
  return `ext4 is mounted read-only: ${reasons.join(', ')}`;
}
