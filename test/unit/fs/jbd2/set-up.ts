import { Journal } from '../../../../src/fs/jbd2/journal.js';
import { JournalSuperblock } from '../../../../src/fs/jbd2/journal-superblock.js';
import { BlockType, HeaderField, JBD2_MAGIC, JsbField } from '../../../../src/fs/jbd2/layout.js';
import { LogArea } from '../../../../src/fs/jbd2/log-area.js';
import { planReplay, readLogged } from '../../../../src/fs/jbd2/recovery.js';
import type { ReplayPlan } from '../../../../src/fs/jbd2/recovery.js';
import { systemClock } from '../../../../src/lib/clock.js';
import { BackingRange } from '../../../../src/media/backing-range.js';
import { MemoryBacking } from '../../../support/memory-backing.js';

/** Blocks of the media of these tests; the log takes some in two runs. */
export const MEDIA_BLOCKS = 256;
const LOG_BLOCKS = 32;
/** Block of the media with the log's superblock. */
export const LOG_START = 100;
/** Blocks of its first run; the second lies in front of it, that of a long log behind all. */
const FIRST_RUN = 12;

/** A log on media of its own. */
export interface TestLog {
  readonly range: BackingRange;
  readonly area: LogArea;
  /** @param random the sequence that the log begins with */
  readonly open: (random?: () => number) => Journal;
  readonly plan: () => ReplayPlan;
  /** First byte of each block that would be replayed, by its home. */
  readonly replayed: () => [number, number][];
}

/** Makes a log as mke2fs leaves it: without features. */
export function newLog(blocks = LOG_BLOCKS): TestLog {
  const bytes = (MEDIA_BLOCKS + blocks) * 4096;
  const range = new BackingRange(new MemoryBacking(bytes), 0, bytes);
  // Two runs, the short one in the wrong order, so that nothing works by accident.
  const area = new LogArea(range, [
    { start: LOG_START, count: FIRST_RUN },
    { start: blocks === LOG_BLOCKS ? 40 : MEDIA_BLOCKS, count: blocks - FIRST_RUN },
  ]);
  const jsb = Buffer.alloc(4096);
  jsb.writeUInt32BE(JBD2_MAGIC, HeaderField.Magic);
  jsb.writeUInt32BE(BlockType.SuperblockV2, HeaderField.Type);
  jsb.writeUInt32BE(4096, JsbField.BlockSize);
  jsb.writeUInt32BE(blocks, JsbField.MaxLen);
  jsb.writeUInt32BE(1, JsbField.First);
  jsb.writeUInt32BE(1, JsbField.Sequence);
  jsb.fill(7, JsbField.Uuid, JsbField.Uuid + 16);
  area.write(0, jsb);
  const isHome = (block: number): boolean => block < MEDIA_BLOCKS && !area.contains(block);
  const plan = (): ReplayPlan => planReplay(area, JournalSuperblock.load(area), isHome);
  return {
    range,
    area,
    open: (random) => new Journal(area, systemClock, random),
    plan,
    replayed: () =>
      [...plan().homes].map(([home, copy]) => [home, readLogged(area, copy).readUInt8(0)]),
  };
}

/** Has `visit` decide about each store to the media: it calls `store`, or not. */
export function watchStores(
  { range }: TestLog,
  visit: (offset: number, bytes: Uint8Array, store: () => void) => void,
): void {
  const write = range.write.bind(range);
  range.write = (offset, bytes) => {
    visit(offset, bytes, () => {
      write(offset, bytes);
    });
  };
}

/** A block full of one byte. */
export function filled(byte: number): Buffer {
  return Buffer.alloc(4096, byte);
}
