import type { Test } from 'tap';

/** A stretch of a lease, as the API names it. */
export interface Extent {
  readonly file_offset: number;
  readonly device_offset: number;
  readonly length: number;
}

/** A lease that was acknowledged. */
export interface HeldLease {
  extents: readonly Extent[];
  /** A part was given back, and that is not answered: some of the extents may be gone. */
  shrinking: boolean;
  /** Its release was sent: whether it is there is not known until that is answered. */
  leaving: boolean;
}

/** What all clients of a daemon together were told. */
export class CrashLedger {
  readonly held = new Map<string, HeldLease>();
  readonly gone = new Set<string>();
  /** Sizes that a file may have, the one acknowledged last first; each is changed by one client. */
  readonly #sizes = new Map<string, readonly number[]>();
  answers = 0;
  /** How changes that met leases were answered. */
  readonly outcomes = new Map<string, number>();

  made(path: string, size: number): void {
    this.#sizes.set(path, [size]);
  }

  /** A size is asked for; {@link sized} says what came of it. */
  sizing(path: string, size: number): void {
    this.#sizes.set(path, [...(this.#sizes.get(path) ?? []), size]);
  }

  /** The file has the size that was asked for last, or where that was refused the one before. */
  sized(path: string, isDone: boolean): void {
    const sizes = this.#sizes.get(path) ?? [];
    this.#sizes.set(path, isDone ? sizes.slice(-1) : sizes.slice(0, 1));
  }

  answered(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  /** Compares what leases there are after a restart with what was said; sorts out the rest. */
  checkLeases(t: Test, found: ReadonlyMap<string, readonly Extent[]>): void {
    for (const [id, lease] of this.held) {
      const now = found.get(id);
      if (now === undefined && !lease.leaving) t.fail(`lease ${id} was granted, and is forgotten`);
      if (now === undefined) {
        this.held.delete(id);
        continue;
      }
      if (lease.shrinking) t.ok(isWithin(now, lease.extents), `lease ${id} has no other pages`);
      else t.same(now, lease.extents);
      Object.assign(lease, { extents: now, shrinking: false, leaving: false });
    }
    for (const id of this.gone) if (found.has(id)) t.fail(`lease ${id} was released, and is back`);
  }

  /** Compares the sizes of files after a restart with those that were acknowledged. */
  async checkSizes(t: Test, sizeOf: (path: string) => Promise<number>): Promise<void> {
    for (const [path, sizes] of this.#sizes) {
      const size = await sizeOf(path);
      if (!sizes.includes(size)) t.fail(`${path} has ${size} bytes, not ${sizes.join()}`);
      this.#sizes.set(path, [size]);
    }
  }
}

/** The pages of leases, each once, by where they lie on the device. */
export function pagesUnder(
  leases: Iterable<readonly Extent[]>,
  pageBytes: number,
): ReadonlySet<number> {
  const pages = new Set<number>();
  for (const extents of leases) {
    for (const { device_offset: from, length } of extents) {
      for (let at = from; at < from + length; at += pageBytes) pages.add(at);
    }
  }
  return pages;
}

function isWithin(some: readonly Extent[], all: readonly Extent[]): boolean {
  return some.every((one) =>
    all.some(
      (of) =>
        one.device_offset >= of.device_offset &&
        one.device_offset + one.length <= of.device_offset + of.length &&
        one.file_offset - of.file_offset === one.device_offset - of.device_offset,
    ),
  );
}
