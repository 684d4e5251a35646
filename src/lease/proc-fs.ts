import { readFileSync, readdirSync } from 'node:fs';

import { systemCodeOf } from '../lib/errno.js';
import type { Presence, ProcessRef } from './holder.js';
import { readProcView } from './proc-view.js';

interface ProcStat {
  readonly state: string;
  readonly startTicks: number;
}

/** What reading a file of /proc said: its text, that there is no such process, or neither. */
type Reading = { readonly text: string } | 'absent' | 'unreadable';

/** Field 22 counted from the state, which is field 3. */
const START_TICKS_AFTER_STATE = 22 - 3;

/** Names this boot of the machine; another one has another name (proc(5), random/boot_id). */
export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** The processes of this machine, as this process's own /proc shows them (proc(5)). */
export class ProcFs {
  readonly #root: string;
  readonly #exists: (pid: number) => boolean;
  readonly #view: string | undefined;

  /** `exists` asks the kernel past /proc, which may hide other users' processes (hidepid). */
  constructor(root = '/proc', exists: (pid: number) => boolean = pidExists) {
    this.#root = root;
    this.#exists = exists;
    this.#view = readProcView(root);
  }

  /** What is known of the process with these numbers once this /proc has shown it. */
  ref(pid: number, startTicks: number): ProcessRef {
    return { pid, startTicks, view: this.#view ?? '' };
  }

  /** Reads /proc synchronously: some tens of microseconds, so that a grant can rely on it. */
  presence({ pid, startTicks, view }: ProcessRef): Presence {
    if (view !== this.#view) return 'unseen';
    const reading = this.#read(`${pid}/stat`);
    if (reading === 'unreadable') return 'unseen';
    if (reading === 'absent') return this.#exists(pid) ? 'unseen' : 'gone';
    const stat = parseStat(reading.text);
    if (stat === undefined) return 'unseen';
    if (stat.startTicks !== startTicks) return 'gone';
    if (!this.#leadsItsThreads(pid)) return 'unseen';
    return isDead(stat) ? this.#threadsOf(pid) : 'alive';
  }

  /** /proc/TID answers for every thread, but the end of one thread is not that of its process. */
  #leadsItsThreads(pid: number): boolean {
    const reading = this.#read(`${pid}/status`);
    if (typeof reading === 'string') return false;
    return new RegExp(`^Tgid:\\s*${pid}$`, 'm').test(reading.text);
  }

  /** A leader that exited stays as a zombie while other threads of the process run on. */
  #threadsOf(pid: number): Presence {
    let threads: string[];
    try {
      threads = readdirSync(`${this.#root}/${pid}/task`);
    } catch (error) {
      if (systemCodeOf(error) !== undefined) return 'unseen';
      throw error;
    }
    for (const thread of threads) {
      const reading = this.#read(`${pid}/task/${thread}/stat`);
      if (reading === 'absent') continue;
      const stat = reading === 'unreadable' ? undefined : parseStat(reading.text);
      if (stat === undefined) return 'unseen';
      if (!isDead(stat)) return 'alive';
    }
    return 'gone';
  }

  #read(path: string): Reading {
    try {
      return { text: readFileSync(`${this.#root}/${path}`, 'latin1') };
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === undefined) throw error;
      // ESRCH: the process ended between the open and the read.
      return code === 'ENOENT' || code === 'ESRCH' ? 'absent' : 'unreadable';
    }
  }
}

/** The name in parentheses may hold spaces and parentheses itself, so the last one ends it. */
function parseStat(text: string): ProcStat | undefined {
  const fields = text
    .slice(text.lastIndexOf(')') + 1)
    .trim()
    .split(' ');
  const state = fields[0];
  const startTicks = Number(fields[START_TICKS_AFTER_STATE]);
  if (state === undefined || !Number.isSafeInteger(startTicks)) return undefined;
  return { state, startTicks };
}

/** Zombie, or dead and about to vanish (x is how kernels before 3.13 wrote X). */
function isDead({ state }: ProcStat): boolean {
  return state === 'Z' || state === 'X' || state === 'x';
}

/** @kernel kill with signal 0 (kernel/signal.c): EPERM also says that the pid is in use. */
function pidExists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === undefined) throw error;
    return code !== 'ESRCH';
  }
}
