import { emptyDisk } from './memory-store.js';
import type { MemoryDisk } from './memory-store.js';
import { HandClock, setUpLeases } from './set-up.js';
import type { LeaseSetUp } from './set-up.js';

/** Daemons one after the other on one disk and one clock. */
export interface Runs {
  readonly disk: MemoryDisk;
  readonly clock: HandClock;
  /** Starts the next one, whose file has such pages. */
  readonly start: (bootId?: string, pages?: string) => Promise<LeaseSetUp>;
}

/** Daemons one after the other on one disk and one clock, each with the same toy file. */
export function runs(): Runs {
  const disk = emptyDisk();
  const clock = new HandClock();
  const start = async (bootId = 'boot-1', pages = 'wwwwww'): Promise<LeaseSetUp> => {
    const set = await setUpLeases({ disk, clock, bootId });
    set.fs.create('file', [pages]);
    await set.leases.restore();
    return set;
  };
  return { disk, clock, start };
}

/** Has leases compared with the files of the toy filesystem, as after its mount. */
export const verify = async (
  { leases, targets }: LeaseSetUp,
  onAllowed = (): void => {},
): Promise<string | undefined> => {
  const target = targets.get('pmem0p1');
  return target?.kind === 'filesystem'
    ? await leases.quarantine.verify('pmem0p1', target, onAllowed)
    : undefined;
};

/** Has other media lie on a partition. */
export function other(name: string, media: object): (set: LeaseSetUp) => void {
  return ({ targets }) => {
    const target = targets.get(name);
    if (target !== undefined) Object.assign(target, { media: { ...target.media, ...media } });
  };
}
