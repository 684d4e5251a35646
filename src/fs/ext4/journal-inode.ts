import { DaxdError } from '../../lib/errno.js';
import type { BlockRun } from '../block-run.js';
import { damaged } from '../damage.js';
import { Journal } from '../jbd2/journal.js';
import { LogArea } from '../jbd2/log-area.js';
import { eachExtent, treeOf } from './extent-tree.js';
import { readAnyInode } from './inode.js';
import { BLOCK_SIZE, FeatureCompat, JOURNAL_INODE, SuperField } from './layout.js';
import type { Volume } from './volume.js';

/** Whether a filesystem logs its changes. */
export function hasJournal({ superblock }: Volume): boolean {
  return (superblock.compat & FeatureCompat.HasJournal) !== 0;
}

/**
 * The journal of a filesystem that has one, in the blocks that the extents of its inode name.
 *
 * @throws DaxdError EUCLEAN without the feature, and for an inode that is no journal's, EBADMSG,
 *   EOPNOTSUPP for a journal on another device, and as `JournalSuperblock.load` does
 * @kernel ext4_get_journal_inode (fs/ext4/super.c)
 */
export function openJournal(volume: Volume): Journal {
  if (!hasJournal(volume)) throw damaged('superblock: recovery without a journal');
  return new Journal(openLogArea(volume), volume.clock, volume.random);
}

function openLogArea(volume: Volume): LogArea {
  const number = volume.superblock.bytes.readUInt32LE(SuperField.JournalInode);
  if (number === 0) {
    throw new DaxdError('EOPNOTSUPP', 'superblock: its journal is on another device');
  }
  if (number !== JOURNAL_INODE) throw damaged(`superblock: inode ${number} is no journal`);
  const inode = readAnyInode(volume, volume, number);
  if (inode.linksCount === 0) throw damagedJournal('it is not in use');
  if (inode.type !== 'file') throw damagedJournal(`it is a ${inode.type}`);
  const blocks = Math.floor(inode.size / BLOCK_SIZE);
  let mapped = 0;
  const runs: BlockRun[] = [];
  for (const extent of eachExtent(treeOf(volume, volume, inode), { from: 0, to: blocks })) {
    if (extent.logical !== mapped || extent.unwritten)
      throw damagedJournal(`block ${mapped} is missing`);
    mapped += extent.length;
    runs.push({ start: extent.physical, count: extent.length });
  }
  if (mapped < blocks) throw damagedJournal(`block ${mapped} is missing`);
  assertDisjoint(runs);
  return new LogArea(volume.range, runs);
}

/** A walk through the log is then no longer than the filesystem. */
function assertDisjoint(runs: readonly BlockRun[]): void {
  let end = 0;
  for (const { start, count } of runs.toSorted((a, b) => a.start - b.start)) {
    if (start < end) throw damagedJournal(`it maps block ${start} twice`);
    end = start + count;
  }
}

function damagedJournal(what: string): DaxdError {
  return damaged(`journal inode ${JOURNAL_INODE}: ${what}`);
}
