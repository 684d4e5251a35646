import { GPT_PRIMARY_LBA, readGptCopy, writeGptCopy } from '../../src/block/gpt-copy.js';
import { encodeEntry, LINUX_FILESYSTEM_TYPE } from '../../src/block/gpt-entry.js';
import { silentLogger } from '../../src/lib/logger.js';
import { SECTOR_SIZE } from '../../src/lib/units.js';
import { BackingRange } from '../../src/media/backing-range.js';
import { openBacking } from '../../src/media/open-backing.js';

/**
 * Names a second partition over the first one in both copies of the table of a disk, with right
 * checksums; the disk is `length` bytes of a file, from `start` on.
 */
export async function overlapEntries(path: string, start: number, length: number): Promise<void> {
  const backing = await openBacking(path, { log: silentLogger });
  const disk = new BackingRange(backing, start, length);
  for (const lba of [GPT_PRIMARY_LBA, length / SECTOR_SIZE - 1]) {
    const copy = readGptCopy(disk, lba);
    if ('damage' in copy) throw new Error(copy.damage);
    encodeEntry(copy.entries, {
      number: 2,
      type: LINUX_FILESYSTEM_TYPE,
      uuid: '11111111-2222-4333-8444-555555555555',
      label: 'over',
      firstLba: 8192,
      lastLba: copy.lastUsableLba,
    });
    await writeGptCopy(disk, copy);
  }
  await backing.close();
}
