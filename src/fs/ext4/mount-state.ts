import { DaxdError } from '../../lib/errno.js';
import type { BackingRange } from '../../media/backing-range.js';
import { damaged } from '../damage.js';
import type { Journal } from '../jbd2/journal.js';
import { LOG_BLOCKS_MIN } from '../jbd2/layout.js';
import { checkFeatures, ERRORS_FOUND, needsRecovery, readOnlyReasons } from './feature-gate.js';
import { verifyGroup } from './group.js';
import type { Group } from './group.js';
import { wallSeconds } from './inode-time.js';
import { hasJournal, openJournal } from './journal-inode.js';
import { planVolumeReplay } from './journal-replay.js';
import type { VolumeReplay } from './journal-replay.js';
import {
  FeatureCompat,
  FeatureIncompat,
  FeatureRoCompat,
  FsState,
  GroupFlag,
  SUPERBLOCK_BLOCK,
  SUPERBLOCK_OFFSET,
  SUPERBLOCK_SIZE,
  SuperField,
  SuperFlag,
} from './layout.js';
import { findOrphans, recoverOrphans } from './orphan-recovery.js';
import { holdsOrphans } from './orphans.js';
import { loadQuarantine } from './quarantine-file.js';
import { loadSuperblockBytes, storeSuperblockBytes } from './superblock-store.js';
import { checkGeometry, sealSuperblock, Superblock } from './superblock.js';
import { Volume } from './volume.js';
import type { VolumeOptions } from './volume.js';

/** What {@link openVolume} is told. */
export interface OpenVolumeOptions extends Pick<
  VolumeOptions,
  'log' | 'clock' | 'layouts' | 'random'
> {
  readonly readOnly: boolean;
}

/** The journal of a filesystem, where it is needed, and what it makes of it. */
interface Recovery {
  readonly journal: Journal | undefined;
  readonly replay: VolumeReplay | undefined;
  /** As the replay leaves it. */
  readonly superblock: Superblock;
}

/**
 * Opens the filesystem on a partition: verifies superblock, features, geometry and every
 * group descriptor, replays the journal where the last mount did not end, and counts what is
 * free. For writing it then says in the superblock, durably and before anything else can
 * change, that the journal needs recovery; that and the counters are put right by
 * {@link closeVolume}. In between the superblock is left alone in its place, for its checksum
 * lies in another cache line than its fields, and a torn one is refused by the kernel: what
 * changes of it is in the journal.
 *
 * A filesystem with errors, also such as are only in its log, or with features that forbid writing,
 * is opened read-only, with a warning. Then, or when read-only is asked for, not one byte changes:
 * what the journal holds is replayed in memory. A damaged orphan makes it read-only once the journal
 * is replayed.
 *
 * Nothing is stored before the log and the tables are found not to lie over each other.
 *
 * @throws DaxdError EINVAL without an ext4, EOPNOTSUPP for its features, EBADMSG, EUCLEAN, EIO
 * @kernel ext4_fill_super (fs/ext4/super.c)
 */
export async function openVolume(range: BackingRange, options: OpenVolumeOptions): Promise<Volume> {
  const superblock = readSuperblock(range);
  const own = ownReasons(range, options);
  const open = (sb: Superblock, reasons: readonly string[]): Volume =>
    new Volume({ ...options, range, superblock: sb, readOnlyReasons: [...own, ...reasons] });
  const recovery = planRecovery(open(superblock, readOnlyReasons(superblock)));
  const found = foundReasons(superblock, recovery);
  const volume = await loadVolume((sb) => open(sb, found), recovery);
  loadQuarantine(volume);
  if (found.length > 0) {
    const { label, uuid } = superblock;
    options.log.warn({ label, uuid, reasons: found }, readOnlyWarning(found));
  }
  if (volume.readOnly) return volume;
  const damage = await startWriting(volume, recovery.journal);
  if (damage !== undefined) keepAsItIs(volume, damage);
  return volume;
}

/** Why a filesystem may not be written to whatever its state. */
function ownReasons(range: BackingRange, options: OpenVolumeOptions): string[] {
  const asked = options.readOnly ? ['asked for'] : [];
  const media = range.readOnly ? ['the backing is read-only'] : [];
  return [...asked, ...media];
}

/**
 * What forbids writing in the superblock as it stands, as the replay will leave it, or in the
 * journal's own: a kernel that finds an error may get no further than to one of them.
 *
 * @kernel ext4_clear_journal_err (fs/ext4/super.c)
 */
function foundReasons(inPlace: Superblock, { superblock, journal }: Recovery): string[] {
  const aborted = journal?.superblock.isAborted === true ? [ERRORS_FOUND] : [];
  return [...new Set([...readOnlyReasons(inPlace), ...readOnlyReasons(superblock), ...aborted])];
}

/** Opens the journal where it is to be replayed or written to. Stores nothing. */
function planRecovery(inPlace: Volume): Recovery {
  const { superblock, range, readOnly } = inPlace;
  const isDirty = needsRecovery(superblock);
  const isNeeded = isDirty || (!readOnly && hasJournal(inPlace));
  const journal = isNeeded ? openJournal(inPlace) : undefined;
  if (!isDirty || journal === undefined) return { journal, replay: undefined, superblock };
  const replay = planVolumeReplay(inPlace, journal);
  const logged = replay.superblock;
  if (logged === undefined) return { journal, replay, superblock };
  return { journal, replay, superblock: checkedSuperblock(logged, range) };
}

/**
 * Has the journal replayed, on the media or, where these may not change, in memory, and loads
 * the tables. They are looked at as the replay will leave them before a byte of it is stored: a
 * log that lies over one of them would destroy it.
 */
async function loadVolume(
  open: (superblock: Superblock) => Volume,
  { journal, replay, superblock }: Recovery,
): Promise<Volume> {
  const shown = open(superblock);
  replay?.show(shown, shown.readOnly ? Infinity : 1 + superblock.gdtBlocks);
  loadGroups(shown, journal);
  if (replay === undefined || shown.readOnly) return shown;
  await replay.store();
  const volume = open(readSuperblock(shown.range));
  loadGroups(volume, journal);
  return volume;
}

/** What is damaged is left for e2fsck, and all that could be lost by writing with it. */
function keepAsItIs(volume: Volume, damage: string): void {
  const reason = `errors were found in it: ${damage}`;
  volume.refuseChanges(reason);
  const { label, uuid } = volume.superblock;
  volume.log.warn({ label, uuid, reasons: [reason] }, readOnlyWarning([reason]));
}

/**
 * Ends the use of a volume: refuses new changes, waits for those under way, empties the
 * journal, then writes the counters and that nothing needs recovery, durably.
 *
 * @throws DaxdError EIO when the media fail, and then the filesystem counts as not unmounted
 * @kernel ext4_put_super (fs/ext4/super.c)
 */
export async function closeVolume(volume: Volume): Promise<void> {
  volume.startClosing();
  await volume.whenQuiet();
  // Once the media failed it is not known what they hold: the journal says it at the next mount.
  if (volume.readOnly) return;
  await volume.stopJournal();
  await storeMountState(volume, 'unmounted');
}

/** @throws DaxdError as {@link openVolume} does */
function readSuperblock(range: BackingRange): Superblock {
  if (range.length < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE) {
    throw new DaxdError('EINVAL', `${range.length} bytes hold no filesystem`);
  }
  return checkedSuperblock(loadSuperblockBytes(range), range);
}

/** @throws DaxdError as {@link openVolume} does */
function checkedSuperblock(bytes: Buffer, range: BackingRange): Superblock {
  const superblock = new Superblock(bytes);
  checkFeatures(superblock);
  checkGeometry(superblock, range.length);
  return superblock;
}

/**
 * Takes a volume into use for writing, and finishes with the orphans; gives what is damaged of
 * these. The order matters: a kernel that finds a log, but not that it needs recovery, wipes it.
 */
async function startWriting(
  volume: Volume,
  journal: Journal | undefined,
): Promise<string | undefined> {
  const { numbers, damage } = findOrphans(volume);
  if (damage !== undefined) return damage;
  volume.range.backing.checkSize();
  if (journal !== undefined) {
    checkLogLength(journal);
    journal.allocate();
  }
  // What a log holds although the flag is clear is in its place: whoever cleared it saw to that.
  await journal?.empty();
  await storeMountState(volume, 'mounted');
  if (journal !== undefined) {
    await journal.start();
    volume.useJournal(journal);
  }
  return await recoverOrphans(volume, numbers);
}

/**
 * A transaction is made to fit half of the log, with its descriptors and revocations, and
 * that takes a log as long as jbd2 makes them. @throws DaxdError EUCLEAN
 */
function checkLogLength({ superblock: { first, maxLen } }: Journal): void {
  if (first + LOG_BLOCKS_MIN <= maxLen + 1) return;
  throw damaged(`journal superblock: ${maxLen - first} blocks of log, too few to write`);
}

/**
 * Verifies every descriptor, maps the filesystem's own tables and its log, and adds up what is free.
 *
 * @throws DaxdError EBADMSG, EUCLEAN
 * @kernel ext4_setup_system_zone (fs/ext4/block_validity.c)
 */
function loadGroups(volume: Volume, journal: Journal | undefined): void {
  const { superblock, systemZone, free } = volume;
  for (let number = 0; number < superblock.groupCount; number++) {
    const group = verifyGroup(volume, number);
    checkCounts(volume, group);
    checkInUse(group);
    free.blocks += group.freeBlocks * superblock.clusterBlocks;
    free.inodes += group.freeInodes;
    addTables(volume, group);
  }
  for (const { start, count } of journal?.area.runs ?? []) systemZone.add(start, count, 'journal');
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
    volume.assertBlocks(table.start, table.count, table.name);
    systemZone.add(table.start, table.count, table.name);
  }
}

function checkCounts({ superblock }: Volume, group: Group): void {
  const { number, freeBlocks, freeInodes } = group;
  if (freeBlocks <= superblock.groupBlocks(number) && freeInodes <= superblock.inodesPerGroup)
    return;
  throw damaged(`group descriptor ${number}: ${freeBlocks} free blocks, ${freeInodes} free inodes`);
}

/** The first group holds superblock and root: its bitmaps are never still to be made. */
function checkInUse({ number, flags }: Group): void {
  if (number > 0 || (flags & (GroupFlag.BlockUninit | GroupFlag.InodeUninit)) === 0) return;
  throw damaged(`group descriptor ${number}: its bitmaps are marked as not in use yet`);
}

/** Stores the superblock as the media have it, with state, counters and times of now. */
async function storeMountState(volume: Volume, to: 'mounted' | 'unmounted'): Promise<void> {
  const { range, clock, free } = volume;
  const bytes = loadSuperblockBytes(range);
  const nowSeconds = wallSeconds(clock.wallMs());
  bytes.writeUInt32LE(free.blocks % 2 ** 32, SuperField.FreeBlocksLo);
  bytes.writeUInt32LE(Math.floor(free.blocks / 2 ** 32), SuperField.FreeBlocksHi);
  bytes.writeUInt32LE(free.inodes, SuperField.FreeInodes);
  // Never back with the clock: who keeps leases takes an earlier one for an older copy.
  const writtenSeconds = Math.max(bytes.readUInt32LE(SuperField.WriteTime), nowSeconds);
  bytes.writeUInt32LE(writtenSeconds, SuperField.WriteTime);
  if (to === 'mounted') {
    bytes.writeUInt32LE(nowSeconds, SuperField.MountTime);
    const mountCount = bytes.readUInt16LE(SuperField.MountCount) + 1;
    bytes.writeUInt16LE(mountCount % 65536, SuperField.MountCount);
  }
  markUse(volume, bytes, to);
  sealSuperblock(bytes);
  await storeSuperblockBytes(range, bytes);
  volume.cache.drop(SUPERBLOCK_BLOCK);
}

/** With a journal its flag says that the filesystem is in use; without one, that it is not valid. */
function markUse(volume: Volume, bytes: Buffer, to: 'mounted' | 'unmounted'): void {
  const set = (field: number, bit: number, isSet: boolean): void => {
    const bits = bytes.readUInt32LE(field);
    bytes.writeUInt32LE((isSet ? bits | bit : bits & ~bit) >>> 0, field);
  };
  const isMounted = to === 'mounted';
  // Attributes may come, and files of 2 GiB; later the superblock is left alone.
  set(SuperField.FeatureCompat, FeatureCompat.ExtAttr, true);
  set(SuperField.FeatureRoCompat, FeatureRoCompat.LargeFile, true);
  if (!hasJournal(volume)) {
    const state = bytes.readUInt16LE(SuperField.State);
    const isValid = isMounted ? state & ~FsState.Valid : state | FsState.Valid;
    bytes.writeUInt16LE(isValid, SuperField.State);
    return;
  }
  set(SuperField.FeatureIncompat, FeatureIncompat.Recover, isMounted);
  markHashSign(bytes);
  if ((volume.superblock.compat & FeatureCompat.OrphanFile) === 0) return;
  const mayHoldOrphans = isMounted || holdsOrphans(volume, volume);
  set(SuperField.FeatureRoCompat, FeatureRoCompat.OrphanPresent, mayHoldOrphans);
}

/** Names hash as signed bytes where nobody said it yet; a machine with unsigned ones must know. */
function markHashSign(bytes: Buffer): void {
  const flags = bytes.readUInt32LE(SuperField.Flags);
  if ((flags & (SuperFlag.SignedHash | SuperFlag.UnsignedHash)) !== 0) return;
  bytes.writeUInt32LE((flags | SuperFlag.SignedHash) >>> 0, SuperField.Flags);
}

function readOnlyWarning(reasons: readonly string[]): string {
  return `ext4 is mounted read-only: ${reasons.join(', ')}`;
}
