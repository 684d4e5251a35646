import { closeSync, existsSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { open } from 'lmdb';
import type { RootDatabase } from 'lmdb';

import { DaxdError, systemCodeOf } from '../../lib/errno.js';
import type { EndedOperation, KeptOperation } from '../kept-operation.js';
import type { KeptKey, LeaseTombstone, StoreHeader } from '../lease-record.js';
import type { MediaIdentity } from '../media-identity.js';
import type { LeaseStore, StoreChange, StoredLease } from '../lease-store.js';
import { REMEMBERED_MAX } from '../limits.js';
import { isLess, takesRoom, withoutMemories } from './change-kinds.js';
import { lockDirectory } from './directory.js';
import { checkLmdbFile } from './file-check.js';
import { fullDiskRound } from './full-disk-round.js';
import { growthBytes } from './growth.js';
import { isFull, commitErrorOf, unusable, unwritable } from './errors.js';
import { LmdbOperations } from './lmdb-operations.js';
import { LmdbRecords } from './lmdb-records.js';
import { LmdbRemembered } from './lmdb-remembered.js';
import type { RememberedStep } from './lmdb-remembered.js';
import { LmdbRoom, reserveFiles } from './lmdb-room.js';
import { LmdbSelf } from './lmdb-self.js';
import { RenewalNotes } from './renewal-notes.js';
import { SUMMED } from './summed-bytes.js';
import type { SummedValue } from './summed-bytes.js';

const FILE_NAME = 'leases.mdb';
const RENEWALS_NAME = 'leases.renewed';

/** How often what takes no room is tried: on a full disk one right after a failed put fails too. */
const BARE_TRIES = 3;
/** How many calls share a transaction at most. */
const ROUND_MAX = 4_096;

/** A call of commit that was not written yet. */
interface Waiting {
  readonly changes: readonly StoreChange[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** What one transaction writes. */
interface Plan {
  readonly changes: readonly StoreChange[];
  readonly remembered: RememberedStep | undefined;
}

/** Calls, and the transaction that does what they ask for. */
interface Step {
  readonly round: readonly Waiting[];
  readonly plan: Plan;
}

/**
 * Leases in an LMDB file. What is asked for in one turn of the event loop, and while a sync
 * runs, is one transaction with one sync: group commit.
 */
export class LmdbStore implements LeaseStore {
  readonly name: string;
  /** The directory, open and locked. */
  readonly #lock: number;
  readonly #root: RootDatabase<SummedValue, string>;
  readonly #self: LmdbSelf;
  readonly #room: LmdbRoom;
  readonly #records: LmdbRecords;
  readonly #remembered: LmdbRemembered;
  readonly #operations: LmdbOperations;
  readonly #renewals: RenewalNotes;
  #waiting: Waiting[] = [];
  /** Settles when nothing waits any more; undefined while nothing does. */
  #writing: Promise<void> | undefined;

  /** Whether a directory has a store, of whatever version and state; a file of no bytes is none. */
  static isIn(directory: string): boolean {
    // Below a file there is nothing either: opening it says so.
    return existsSync(directory) && statSync(directory).isDirectory() && sizeIn(directory) > 0;
  }

  /**
   * Opens the store in a directory, which is made where it does not exist.
   *
   * @param rememberedMax how many ended leases, ended operations and keys it remembers.
   * @throws DaxdError EBADMSG for a damaged one and for one of another version, saying how
   *   to go on; EBUSY where another daemon has it; the errno of the system where the directory
   *   cannot be made or written.
   */
  static open(directory: string, rememberedMax = REMEMBERED_MAX): LmdbStore {
    const lock = lockDirectory(directory);
    let root: RootDatabase<SummedValue, string> | undefined;
    try {
      reserve(directory);
      root = openFile(directory);
      return new LmdbStore(directory, lock, root, rememberedMax);
    } catch (error) {
      void root?.close();
      closeSync(lock);
      throw error;
    }
  }

  private constructor(
    directory: string,
    lock: number,
    root: RootDatabase<SummedValue, string>,
    rememberedMax: number,
  ) {
    this.name = directory;
    this.#lock = lock;
    this.#root = root;
    // One of another version is left as it is: these make what is not there.
    this.#self = new LmdbSelf(directory, root);
    this.#records = new LmdbRecords(root);
    this.#remembered = new LmdbRemembered(root, rememberedMax);
    this.#operations = new LmdbOperations(root);
    this.#room = new LmdbRoom(join(directory, FILE_NAME));
    this.#renewals = new RenewalNotes(join(directory, RENEWALS_NAME));
  }

  get id(): string {
    return this.#self.id;
  }

  get header(): StoreHeader | undefined {
    return this.#self.header;
  }

  get isEmpty(): boolean {
    return this.#records.isEmpty && this.#operations.isEmpty;
  }

  get fencingToken(): number {
    return this.#self.fencingToken;
  }

  left(partition: string): MediaIdentity | undefined {
    return this.#self.left(partition);
  }

  *stored(): Generator<StoredLease> {
    try {
      for (const stored of this.#records.stored()) {
        const renewedMs = this.#renewals.deadlineMs(stored.record.terms.id) ?? -Infinity;
        if (renewedMs <= stored.deadlineMs) yield stored;
        else yield { record: stored.record, deadlineMs: renewedMs, isRenewed: true };
      }
    } catch (error) {
      throw unusable(this.name, error);
    }
  }

  *operations(): Generator<KeptOperation> {
    try {
      yield* this.#operations.stored();
    } catch (error) {
      throw unusable(this.name, error);
    }
  }

  async commit(changes: readonly StoreChange[]): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.#waiting.push({ changes, resolve, reject });
    });
    this.#writing ??= this.#write();
    await written;
  }

  renewed(id: string, deadlineMs: number): void {
    this.#renewals.add(id, deadlineMs);
  }

  tombstone(id: string): LeaseTombstone | undefined {
    return this.#remembered.tombstone(id);
  }

  grantOf(key: string): KeptKey | undefined {
    return this.#remembered.grantOf(key);
  }

  outcomeOf(operation: string): EndedOperation | undefined {
    return this.#remembered.outcomeOf(operation);
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#root.close();
    this.#room.close();
    this.#renewals.close();
    closeSync(this.#lock);
  }

  async #write(): Promise<void> {
    // The calls of this turn join the first one.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      await this.#writeRound(this.#waiting.splice(0, ROUND_MAX));
    }
    this.#writing = undefined;
  }

  /** One transaction for all; where it fails, what takes no room gets one of its own, bare. */
  async #writeRound(asked: readonly Waiting[]): Promise<void> {
    const step = this.#withRoom(asked);
    if (step === undefined) return;
    const { round, plan } = step;
    try {
      await this.#transact(plan);
    } catch (error) {
      const going = round.filter(({ changes }) => !takesRoom(changes) && !isLess(changes));
      for (const one of round) if (!going.includes(one)) one.reject(this.#failure(error));
      if (going.length > 0) await this.#writeBare(going);
      return;
    }
    this.#room.settle();
    for (const { resolve } of round) resolve();
  }

  /** What of a round there is room to write; the others are refused, or wait for the next one. */
  #withRoom(asked: readonly Waiting[]): Step | undefined {
    const plan = this.#planOf(asked);
    if (this.#room.has(this.#growthOf(plan))) return { round: asked, plan };
    const { refused, now, later } = fullDiskRound(asked);
    this.#refuse(refused);
    this.#waiting = [...later, ...this.#waiting];
    if (now.length === 0) return undefined;
    const few = this.#planOf(now);
    if (this.#room.hasForLess(this.#growthOf(few))) return { round: now, plan: few };
    const bare = bareOf(now);
    const isLessNow = now.some(({ changes }) => isLess(changes));
    if (!isLessNow && this.#room.hasReserved(this.#growthOf(bare))) {
      return { round: now, plan: bare };
    }
    this.#refuse(now);
    return undefined;
  }

  #planOf(round: readonly Waiting[]): Plan {
    const changes = changesOf(round);
    return { changes, remembered: this.#remembered.step(changes) };
  }

  #growthOf({ changes, remembered }: Plan): (fileBytes: number) => number {
    const dropped = remembered?.dropped ?? 0;
    return (fileBytes) => growthBytes(changes, { fileBytes, dropped });
  }

  #refuse(round: readonly Waiting[]): void {
    const full = new DaxdError('ENOSPC', 'its disk is full');
    for (const { reject } of round) reject(this.#failure(full));
  }

  async #writeBare(round: readonly Waiting[]): Promise<void> {
    const plan = bareOf(round);
    for (let tries = 1; ; tries++) {
      try {
        await this.#transact(plan);
        for (const { resolve } of round) resolve();
        return;
      } catch (error) {
        if (tries < BARE_TRIES) continue;
        for (const { reject } of round) reject(this.#failure(error));
        return;
      }
    }
  }

  /** Settles once the transaction is on the disk. @throws what LMDB says. */
  async #transact({ changes, remembered }: Plan): Promise<void> {
    let done: (() => void) | undefined;
    try {
      await this.#root.batch(() => {
        done = this.#self.write(changes);
        this.#records.write(changes);
        this.#operations.write(changes);
        remembered?.write();
      });
    } catch (error) {
      this.#records.failed();
      throw await commitErrorOf(error);
    }
    remembered?.done();
    this.#renewals.kept(changes);
    done?.();
  }

  #failure(error: unknown): DaxdError {
    const full = isFull(error);
    const detail = error instanceof Error ? error.message : String(error);
    return new DaxdError(
      full ? 'ENOSPC' : 'EIO',
      `the leases in ${this.name} could not be kept: ${detail}${full ? '; make room on its disk' : ''}`,
      { cause: error },
    );
  }
}

function sizeIn(directory: string): number {
  return statSync(join(directory, FILE_NAME), { throwIfNoEntry: false })?.size ?? 0;
}

function reserve(directory: string): void {
  try {
    reserveFiles(join(directory, FILE_NAME));
  } catch (error) {
    if (!(error instanceof DaxdError)) throw unwritable(directory, error);
    throw new DaxdError(
      'ENOSPC',
      `cannot keep leases in ${directory}: ${error.message}: make room on its disk, or give --state-dir another`,
      { cause: error },
    );
  }
}

function openFile(directory: string): RootDatabase<SummedValue, string> {
  const path = join(directory, FILE_NAME);
  try {
    checkExisting(path);
    return open<SummedValue, string>({
      path,
      noSubdir: true,
      ...SUMMED,
      // A put settles when it is on the disk, and a failed commit rejects what waits for it.
      overlappingSync: false,
      eventTurnBatching: false,
      commitDelay: 0,
    });
  } catch (error) {
    throw error instanceof DaxdError ? unusable(directory, error) : unwritable(directory, error);
  }
}

function checkExisting(path: string): void {
  try {
    checkLmdbFile(path);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return;
    throw error;
  }
}

/** What they ask for without what is only to be remembered. */
function bareOf(round: readonly Waiting[]): Plan {
  return { changes: withoutMemories(changesOf(round)), remembered: undefined };
}

function changesOf(round: readonly Waiting[]): StoreChange[] {
  return round.flatMap(({ changes }) => changes);
}
