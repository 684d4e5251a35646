import { setMaxListeners } from 'node:events';

import type { BrokenLayout } from '../../dax/broken-layout.js';
import { DaxdError } from '../../lib/errno.js';
import { evictOrphan } from './evict-orphan.js';
import { readAnyInode } from './inode.js';
import { changeLayout, tryBreakFileLayouts } from './layout-break.js';
import type { FileLayoutChange } from './layout-break.js';
import { OpenFile } from './open-file.js';
import type { Volume } from './volume.js';

/** A file that lost its last name: which one, and by what. */
export interface NamelessFile {
  readonly inode: number;
  readonly op: 'unlink' | 'rename';
  /** For people who look at what waits. */
  readonly path?: string | undefined;
  /** Waits for no pinned page: pinned blocks go into the quarantine, as long as it has room. */
  readonly defer?: boolean | undefined;
}

/** Waits for pinned pages at a time: the rest leave room for the changes of others. */
const WAITS_MAX = 1024;

/**
 * Frees files without a name once nobody needs them: when no handle is open, then when no page
 * is pinned. Each is on the orphan list of the media from the transaction on that took its
 * name, so nothing is lost whenever this ends.
 *
 *     kept --last handle closed--> waiting --last page idle--> evicting --> free
 *       +---------- unmount -----------+--> left on the orphan list where a page is pinned
 */
export class Evictions {
  readonly #volume: Volume;
  readonly #abort = new AbortController();
  /** What waits for pinned pages. */
  readonly #waits = new Map<number, Promise<void>>();
  /** What an open handle keeps. */
  readonly #kept = new Map<number, NamelessFile>();
  /** What there was no room to wait for. */
  readonly #parked = new Map<number, NamelessFile>();
  #state: 'open' | 'closed' = 'open';

  constructor(volume: Volume) {
    this.#volume = volume;
    setMaxListeners(0, this.#abort.signal);
  }

  /**
   * Takes over the files that the mount found without a name and with pinned pages. Settles
   * without waiting for these.
   */
  static async begin(volume: Volume): Promise<Evictions> {
    const evictions = new Evictions(volume);
    for (const inode of volume.openFiles.waiting) await evictions.start({ inode, op: 'unlink' });
    return evictions;
  }

  /** Takes a handle on a file, with a name or without one that is reachable. */
  open(inode: number): OpenFile {
    const { openFiles } = this.#volume;
    openFiles.opened(inode);
    return new OpenFile(inode, async () => {
      if (openFiles.closed(inode))
        await this.start(this.#kept.get(inode) ?? { inode, op: 'unlink' });
    });
  }

  /**
   * Takes over a file whose last name is gone. Settles when it is freed, or when that has to
   * wait: for its last handle, or for pinned pages.
   */
  async start(file: NamelessFile): Promise<void> {
    const { inode } = file;
    const { openFiles } = this.#volume;
    if (this.#state === 'closed' || this.#waits.has(inode) || !openFiles.isReachable(inode)) return;
    if (openFiles.isOpen(inode)) {
      this.#kept.set(inode, file);
      return;
    }
    this.#kept.delete(inode);
    const isBusy = this.#volume.isInodeBusy(inode);
    const layout = isBusy ? undefined : this.#tryBreak(file);
    if (layout === undefined) {
      this.#wait(file);
      return;
    }
    try {
      await this.#volume.withInode(inode, async () => {
        await this.finish(file, layout);
      });
    } finally {
      layout.lift();
    }
  }

  /**
   * Frees a file whose last name is gone, within its gate and with its layout broken, unless
   * somebody has it open by now. A failure is logged: the file stays on the orphan list.
   */
  async finish(file: NamelessFile, layout: BrokenLayout): Promise<void> {
    if (!this.#volume.openFiles.isOpen(file.inode)) {
      await this.#evict(file.inode, layout);
      return;
    }
    this.#kept.set(file.inode, file);
  }

  /** Waits for one that there was no room for, if any; to be called now and then. */
  resume(): void {
    if (this.#state === 'closed') return;
    for (const file of this.#parked.values()) {
      this.#parked.delete(file.inode);
      this.#wait(file);
      return;
    }
  }

  /**
   * Ends all waits, and frees what no pinned page keeps: handles no longer count, since nothing
   * is read after an unmount. The rest stays on the orphan list, for the next mount.
   */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#abort.abort();
    await Promise.all(this.#waits.values());
    const { openFiles, log, readOnly } = this.#volume;
    if (readOnly) return;
    for (const inode of openFiles.waiting) {
      const layout = this.#tryBreak(this.#kept.get(inode) ?? { inode, op: 'unlink' });
      if (layout === undefined) {
        log.warn(
          { inode },
          'a removed file is still pinned: its blocks are freed at the next mount',
        );
        continue;
      }
      try {
        await this.#volume.withInode(inode, async () => {
          await this.#evict(inode, layout);
        });
      } finally {
        layout.lift();
      }
    }
  }

  /** A file whose blocks cannot be found counts as pinned: its name is gone, and stays gone. */
  #tryBreak(file: NamelessFile): BrokenLayout | undefined {
    try {
      this.#assertRoom(file);
      return tryBreakFileLayouts(this.#volume, changeOf(file));
    } catch (error) {
      if (error instanceof DaxdError) return undefined;
      throw error;
    }
  }

  /** @throws DaxdError `quarantine-full` where it might be too small for all blocks of a file */
  #assertRoom({ inode, defer }: NamelessFile): void {
    if (defer !== true) return;
    const { blocks } = readAnyInode(this.#volume, this.#volume, inode);
    this.#volume.quarantine.assertRoom(blocks);
  }

  #wait(file: NamelessFile): void {
    if (this.#waits.size >= WAITS_MAX) {
      this.#parked.set(file.inode, file);
      return;
    }
    this.#waits.set(file.inode, this.#evictWhenIdle(file));
  }

  async #evictWhenIdle(file: NamelessFile): Promise<void> {
    const change = { ...changeOf(file), signal: this.#abort.signal };
    try {
      await changeLayout(this.#volume, change, async (layout) => {
        this.#assertRoom(file);
        await this.finish(file, layout);
      });
    } catch (error) {
      this.#waits.delete(file.inode);
      this.#waitFailed(file, error);
      return;
    }
    this.#waits.delete(file.inode);
    this.resume();
  }

  /** @throws what is no DaxdError: a defect */
  #waitFailed(file: NamelessFile, error: unknown): void {
    if (!(error instanceof DaxdError)) throw error;
    if (this.#state === 'closed') return;
    const { inode } = file;
    const { code, message } = error;
    // Whoever cancels the wait gets the blocks no sooner: the file is gone, and is waited for again.
    if (code === 'cancelled') this.#wait(file);
    // Nobody is there to be refused: its pages are waited for.
    else if (code === 'quarantine-full') this.#wait({ ...file, defer: false });
    // Too many changes of others: at once again would be in vain.
    else if (code === 'EBUSY') this.#parked.set(inode, file);
    else this.#volume.log.info({ inode, code }, `eviction is left to the unmount: ${message}`);
  }

  async #evict(inode: number, layout: BrokenLayout): Promise<void> {
    const { openFiles, log } = this.#volume;
    if (!openFiles.isReachable(inode)) return;
    openFiles.evicting(inode);
    try {
      await evictOrphan(this.#volume, inode, layout);
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      log.error(
        { inode, code: error.code },
        `a removed file is left on the orphan list for the next mount: ${error.message}`,
      );
    }
  }
}

function changeOf({ inode, op, path, defer }: NamelessFile): FileLayoutChange {
  return { op, inode, path, defer, from: 0, to: Infinity };
}
