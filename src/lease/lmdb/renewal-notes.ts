import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';

import type { StoreChange } from '../lease-store.js';

/** One note; what was cut off by a full disk is none. */
const NOTE = /^(\S+) ([\d.]+);$/gm;
/** From here on the file is written anew with what counts, where that is less than half of it. */
const SHRINK_FROM_BYTES = 1024 * 1024;
const NOTE_BYTES_MAX = 64;
const FILE_MODE = 0o600;

/**
 * Deadlines of renewed leases that the store itself does not know yet, in a file beside it. They
 * are written at once and never synced: they outlive this process, which may be killed right after
 * the answer to the renewal, and not the machine, in whose next boot no deadline counts.
 */
export class RenewalNotes {
  readonly #path: string;
  readonly #deadlines = new Map<string, number>();
  #fd: number;
  #fileBytes: number;

  /** Takes in what the processes before left. @throws what node:fs throws. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'a+', FILE_MODE);
    const text = readFileSync(this.#fd, 'latin1');
    for (const [, id, deadlineMs] of text.matchAll(NOTE)) {
      if (id !== undefined) this.#deadlines.set(id, Number(deadlineMs));
    }
    this.#fileBytes = text.length;
  }

  /** The deadline of a lease; undefined where the store knows it. */
  deadlineMs(id: string): number | undefined {
    return this.#deadlines.get(id);
  }

  /** Notes a renewal. On a full disk it is lost, until the store has it. */
  add(id: string, deadlineMs: number): void {
    this.#deadlines.set(id, deadlineMs);
    try {
      // Each begins a line of its own: the one before may have been cut off.
      this.#fileBytes += writeSync(this.#fd, noteOf(id, deadlineMs));
    } catch {
      // The checkpoint tells the store, which has room of its own.
    }
  }

  /** Drops what the store knows from now on; a start, which writes a header, took in all. */
  kept(changes: readonly StoreChange[]): void {
    if (this.#fileBytes + this.#deadlines.size === 0) return;
    for (const change of changes) {
      if (change.kind === 'header') this.#deadlines.clear();
      else if (change.kind === 'remove') this.#deadlines.delete(change.id);
      else if (change.kind === 'put') this.#passed(change.record.terms.id, change.deadlineMs);
      else if (change.kind === 'deadline') this.#passed(change.id, change.deadlineMs);
    }
    try {
      this.#shrink();
    } catch {
      // It is longer than it need be, and says the same.
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #passed(id: string, deadlineMs: number): void {
    if ((this.#deadlines.get(id) ?? Infinity) <= deadlineMs) this.#deadlines.delete(id);
  }

  #shrink(): void {
    if (this.#deadlines.size === 0) {
      ftruncateSync(this.#fd, 0);
      this.#fileBytes = 0;
      return;
    }
    if (this.#fileBytes < SHRINK_FROM_BYTES) return;
    if (this.#deadlines.size * NOTE_BYTES_MAX * 2 > this.#fileBytes) return;
    const text = [...this.#deadlines].map(([id, deadlineMs]) => noteOf(id, deadlineMs)).join('');
    const next = `${this.#path}-new`;
    writeFileSync(next, text, { mode: FILE_MODE });
    const fd = openSync(next, 'a+');
    renameSync(next, this.#path);
    closeSync(this.#fd);
    this.#fd = fd;
    this.#fileBytes = text.length;
  }
}

function noteOf(id: string, deadlineMs: number): string {
  return `\n${id} ${deadlineMs};`;
}
