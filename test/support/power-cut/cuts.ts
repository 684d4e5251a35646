import type { SeededRandom } from '../seeded-random.js';
import type { DiskImage } from './disk-image.js';
import { PendingLines } from './pending-lines.js';
import type { CutLine, LineChoice } from './pending-lines.js';
import type { PowerEvent } from './power-log.js';
import type { Progress, Situation } from './situation.js';
import type { Recording } from './workload.js';

/** A stretch of the media that the kernel looks at before it replays the journal, by offset. */
export interface Window {
  readonly name: 'superblock' | 'journal superblock' | 'descriptors';
  readonly from: number;
  readonly to: number;
  /** Where a medium may leave it torn, and the kernel refuse the mount for it. */
  readonly excuses: 'at mount and unmount' | 'when lines are torn' | 'never';
}

/** One way in which the power may go. */
export interface Cut {
  /** Where and how, for messages: the place in the log, and what gets through. */
  readonly name: string;
  readonly lines: readonly CutLine[];
  readonly situation: Situation;
  /** Names the image that it leaves. */
  readonly identity: bigint;
  /** The windows of which a part got through. */
  readonly torn: readonly Window[];
  /** Names the image of what was durable by then. */
  readonly durable: bigint;
  /** How many lines were stored and not durable. */
  readonly pendingLines: number;
  /** An update of a superblock is under way. */
  readonly isRare: boolean;
}

/** Which cuts to make. */
export interface CutOptions {
  readonly random: SeededRandom;
  readonly windows: readonly Window[];
  /** Random subsets of an epoch. */
  readonly subsets: number;
  /** Tears lines: subsets of aligned 8-byte words, and none of the other kinds. */
  readonly words?: boolean;
  /** Looks at one place in so many, evenly, from a random one on; 1 by default. */
  readonly oneIn?: number;
}

const PREFIXES_MAX = 8;
const LINE_BYTES = 64;
const WORD_BYTES = 8;

/**
 * Every cut of a recording. While one is yielded, `image` holds what is durable at that
 * place of the log; it starts as the media did and ends as all persists leave it.
 *
 * An epoch ends where a persist settles: until then, any of its stores may have got through.
 * It is looked at as it ends, when most is in doubt, and again when an operation settles, for
 * from then on less is allowed.
 */
export function* cutsOf(
  recording: Recording,
  image: DiskImage,
  options: CutOptions,
): Generator<Cut> {
  const { events } = recording.log;
  const pending = new PendingLines(image);
  const progress = new ProgressOf(recording, options.words === true ? WORD_BYTES : LINE_BYTES);
  const { oneIn = 1 } = options;
  let places = options.random.below(oneIn);
  const cuts = (place: number): Generator<Cut> =>
    cutsAt(place, pending, progress.situation(), { ...options, isTurn: places++ % oneIn === 0 });
  let isNew = true;
  for (const [place, event] of events.entries()) {
    if (event.kind === 'store') {
      pending.store(place, event.offset, event.bytes);
      isNew = true;
    } else if (event.kind === 'persisted') {
      if (isNew) yield* cuts(place);
      isNew = false;
      const persist = events[event.began] as PowerEvent & { kind: 'persist' };
      pending.persisted(event.began, persist.offset, persist.length);
    } else if (event.kind !== 'persist') {
      progress.take(event);
      if (event.kind === 'settled') {
        yield* cuts(place);
        isNew = false;
      }
    }
  }
  yield* cuts(events.length);
}

function* cutsAt(
  place: number,
  pending: PendingLines,
  situation: Situation,
  options: CutOptions & { readonly isTurn: boolean },
): Generator<Cut> {
  const isRare = holdsSuperblock(pending, options.windows);
  if (!options.isTurn && !isRare) return;
  const seen = new Set<bigint>();
  for (const { kind, lines } of choices(pending, options)) {
    const identity = pending.identityOf(lines);
    if (seen.has(identity)) continue;
    seen.add(identity);
    const changed = new Map(lines.map(({ offset, bytes }) => [offset, bytes]));
    const torn = options.windows.filter(
      ({ from, to, excuses }) => excuses !== 'never' && pending.isTorn(changed, from, to),
    );
    const running = situation.operations.map(({ operation, progress }) => {
      return `${operation.name} ${progress}`;
    });
    const name = `${kind} at event ${place} (${running.join('; ')})`;
    yield {
      name,
      lines,
      situation,
      identity,
      torn,
      durable: pending.identityOf([]),
      pendingLines: pending.size,
      isRare,
    };
  }
}

/** Updates of superblocks are few: they are looked at always. */
function holdsSuperblock(pending: PendingLines, windows: readonly Window[]): boolean {
  return windows.some(({ name, from, to }) => name !== 'descriptors' && pending.holds(from, to));
}

interface Choice {
  readonly kind: string;
  readonly lines: readonly CutLine[];
}

function* choices(pending: PendingLines, options: CutOptions): Generator<Choice> {
  if (pending.size === 0 || options.words !== true) {
    yield { kind: 'none', lines: pending.cut(() => 0) };
  }
  if (pending.size === 0) return;
  if (options.words === true) {
    for (let i = 0; i < options.subsets; i++) {
      const lines = pending.cutWords(randomChoice(options.random));
      yield { kind: `words ${i}`, lines };
    }
    return;
  }
  yield { kind: 'all', lines: pending.cut((stores) => stores.length) };
  const ages = pending.ages();
  for (const [i, age] of ages.slice(0, PREFIXES_MAX).entries()) {
    yield { kind: `first ${i + 1} of ${ages.length} stores`, lines: pending.cut(upTo(age)) };
  }
  for (let i = 0; i < options.subsets; i++) {
    yield { kind: `subset ${i}`, lines: pending.cut(randomChoice(options.random)) };
  }
}

function upTo(last: number): LineChoice {
  return (stores) => stores.filter((age) => age <= last).length;
}

/** Each line anew, some cuts letting much through and some little. */
function randomChoice(random: SeededRandom): LineChoice {
  const share = 1 + random.below(9);
  return (stores) => (random.below(10) < share ? 1 + random.below(stores.length) : 0);
}

/** Follows which operations run. */
class ProgressOf {
  readonly #recording: Recording;
  readonly #unit: number;
  readonly #progress = new Map<string, Progress>();
  #batch = 0;

  constructor(recording: Recording, unit: number) {
    this.#recording = recording;
    this.#unit = unit;
  }

  take({ kind, batch, operation }: PowerEvent & { kind: 'start' | 'settled' }): void {
    this.#batch = batch;
    this.#progress.set(`${batch} ${operation}`, kind === 'start' ? 'running' : 'settled');
  }

  situation(): Situation {
    const batch = this.#recording.batches[this.#batch];
    if (batch === undefined) throw new Error('a log without operations');
    const operations = batch.operations.map((operation, i) => ({
      operation,
      progress: this.#progress.get(`${this.#batch} ${i}`) ?? ('waiting' as const),
    }));
    return { before: batch.before, after: batch.after, operations, unit: this.#unit };
  }
}
