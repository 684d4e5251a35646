import { DaxdError } from '../lib/errno.js';
import type { LeaseStore, StoredLease } from './lease-store.js';
import type { LeaseTarget, LeaseTargets } from './lease-target.js';
import { whyOther } from './media-identity.js';
import type { MediaIdentity } from './media-identity.js';

/** What {@link RestoredPlaces} look at. */
interface RestoredPlacesOptions {
  readonly store: LeaseStore;
  readonly targets: LeaseTargets;
}

/** Looks once at each partition whether it is the one that leases were granted on. */
export class RestoredPlaces {
  readonly #options: RestoredPlacesOptions;
  readonly #found = new Map<string, FoundMedia>();
  /** What raw leases take their claims from. */
  readonly rawTargets = new Map<string, LeaseTarget>();

  constructor(options: RestoredPlacesOptions) {
    this.#options = options;
  }

  /** @throws DaxdError EBUSY for another partition. */
  check({ record }: StoredLease): void {
    const { id, partition, media, inode } = record.terms;
    const { store, targets } = this.#options;
    const found = this.#find(partition);
    const why = inode === undefined ? found.whyOtherBytes(media) : found.whyOtherFile(media);
    if (why !== undefined) throw otherMedia(store, id, `${partition} of other media: ${why}`);
    if (inode !== undefined || this.rawTargets.has(partition)) return;
    this.rawTargets.set(partition, targets.target(partition));
  }

  #find(partition: string): FoundMedia {
    const known = this.#found.get(partition);
    if (known !== undefined) return known;
    const { store, targets } = this.#options;
    const found = new FoundMedia(partition, targets.identify(partition), store.left(partition));
    this.#found.set(partition, found);
    return found;
  }
}

/** What lies on a partition, and what daxd left there. */
class FoundMedia {
  readonly #partition: string;
  readonly #now: MediaIdentity | undefined;
  /** Why it is not what was left; undefined where it is, and where nothing is known of that. */
  readonly #whyNotLeft: string | undefined;

  constructor(partition: string, now: MediaIdentity | undefined, left: MediaIdentity | undefined) {
    this.#partition = partition;
    this.#now = now;
    if (now !== undefined && left !== undefined) this.#whyNotLeft = whyOther(left, now);
  }

  /** Why a file that was leased here is another one now. */
  whyOtherFile(granted: MediaIdentity): string | undefined {
    if (this.#now === undefined) return this.#gone();
    return whyOther(granted, this.#now) ?? this.#whyNotLeft;
  }

  /** Why the partition is another one now: what its bytes hold is the affair of who leased them raw. */
  whyOtherBytes({ partition }: MediaIdentity): string | undefined {
    return this.#now === undefined ? this.#gone() : whyOther({ partition }, this.#now);
  }

  #gone(): string {
    return `there is no ${this.#partition} here`;
  }
}

/** Why leases are not restored: none of them is forgotten for that. */
export function otherMedia({ name }: LeaseStore, id: string, whose: string): DaxdError {
  return new DaxdError(
    'EBUSY',
    `${name} keeps leases, ${id} the first, of ${whose}. Give the backing that they were granted on, or another --state-dir; ` +
      'once you know that none of their holders does DMA any more, move the directory away',
  );
}
