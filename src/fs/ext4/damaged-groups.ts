import type { DaxdError } from '../../lib/errno.js';
import type { Logger } from '../../lib/logger.js';
import { isDamage } from '../damage.js';

/**
 * Groups that nothing is taken from any more, for a bitmap of theirs is damaged. What is in use in
 * them stays so: giving it back fails. In memory only: the next mount looks again.
 *
 * @kernel EXT4_GROUP_INFO_BBITMAP_CORRUPT, EXT4_GROUP_INFO_IBITMAP_CORRUPT (fs/ext4/ext4.h)
 */
export class DamagedGroups {
  readonly #log: Logger;
  readonly #groups = new Set<number>();
  #free = 0;
  #damage: DaxdError | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** What is free in them by their descriptors, in blocks or inodes. */
  get free(): number {
    return this.#free;
  }

  /** What is wrong with the first of them; undefined while there is none. */
  get damage(): DaxdError | undefined {
    return this.#damage;
  }

  /**
   * The bitmap that `read` gives; undefined for a group that is left out.
   *
   * @param free of the group, by its descriptor
   * @throws what `read` throws, unless it is EBADMSG or EUCLEAN
   */
  read(group: number, free: number, read: () => Buffer): Buffer | undefined {
    if (this.#groups.has(group)) return undefined;
    try {
      return read();
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.leaveOut(group, free, error);
      const { code, message } = error;
      this.#log.warn({ group, code }, `nothing more is taken from group ${group}: ${message}`);
      return undefined;
    }
  }

  /** Leaves a group out for a damage that is known, and warned of. */
  leaveOut(group: number, free: number, damage: DaxdError | undefined): void {
    if (this.#groups.has(group)) return;
    this.#groups.add(group);
    this.#free += free;
    this.#damage ??= damage;
  }
}
