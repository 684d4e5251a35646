import type { Journal } from '../jbd2/journal.js';
import type { LogArea } from '../jbd2/log-area.js';
import { planReplay, readLogged } from '../jbd2/recovery.js';
import type { ReplayPlan } from '../jbd2/recovery.js';
import { BLOCK_SIZE, SUPERBLOCK_BLOCK, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE } from './layout.js';
import { storeSuperblockBytes } from './superblock-store.js';
import type { Volume } from './volume.js';

/** What a filesystem's journal holds that may not be in its place. */
export interface VolumeReplay {
  /** The superblock that it leaves, not verified; undefined where it leaves that as it is. */
  readonly superblock: Buffer | undefined;
  /** Puts it in its place, durably, and empties the journal. @throws DaxdError EIO */
  store(): Promise<void>;
  /** Shows the first `blocks` blocks as it leaves them, or all, to readers of a volume, without storing a byte. */
  show(volume: Volume, blocks?: number): void;
}

/**
 * Reads the journal of a filesystem that was not unmounted. Nothing else of it was verified
 * before: descriptors and inodes may be torn until the replay is done.
 *
 * @throws DaxdError EBADMSG, EUCLEAN, EOPNOTSUPP for a journal that cannot be replayed
 * @kernel ext4_load_journal (fs/ext4/super.c)
 */
export function planVolumeReplay(volume: Volume, journal: Journal): VolumeReplay {
  const { area, superblock } = journal;
  // Not the filesystem as it stands: an online resize may have grown it in this very log.
  const blocksMax = Math.floor(volume.range.length / BLOCK_SIZE);
  const plan = planReplay(area, superblock, (block) => block < blocksMax && !area.contains(block));
  return {
    superblock: loggedSuperblock(area, plan),
    store: async () => {
      await storeReplay(volume, journal, plan);
    },
    show: (target, blocks = Infinity) => {
      for (const [home, copy] of plan.homes) {
        if (home >= blocks) continue;
        target.cache.change(home, readLogged(area, copy), { role: 0, parts: 0 });
        target.replayed.add(home);
      }
    },
  };
}

/** A power cut in here does no harm: the next mount replays the same log again. */
async function storeReplay(volume: Volume, journal: Journal, plan: ReplayPlan): Promise<void> {
  const { range, log } = volume;
  const { area } = journal;
  range.backing.checkSize();
  const homes = [...plan.homes.keys()].toSorted((a, b) => a - b);
  for (const home of homes) {
    const copy = plan.homes.get(home);
    if (copy === undefined || home === SUPERBLOCK_BLOCK) continue;
    range.write(home * BLOCK_SIZE, readLogged(area, copy));
  }
  await persistBlocks(volume, homes);
  const logged = loggedSuperblock(area, plan);
  if (logged !== undefined) await storeSuperblockBytes(range, logged);
  await journal.empty();
  log.info(
    { label: volume.superblock.label, transactions: plan.transactions, blocks: homes.length },
    'journal replayed',
  );
}

function loggedSuperblock(area: LogArea, { homes }: ReplayPlan): Buffer | undefined {
  const copy = homes.get(SUPERBLOCK_BLOCK);
  if (copy === undefined) return undefined;
  return readLogged(area, copy).subarray(SUPERBLOCK_OFFSET, SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE);
}

async function persistBlocks(volume: Volume, ascending: readonly number[]): Promise<void> {
  let first = 0;
  for (let i = 1; i <= ascending.length; i++) {
    const start = ascending[first];
    const last = ascending[i - 1];
    if (start === undefined || last === undefined || ascending[i] === last + 1) continue;
    await volume.persist(start * BLOCK_SIZE, (last + 1 - start) * BLOCK_SIZE);
    first = i;
  }
}
