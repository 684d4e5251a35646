import { cutsOf } from './cuts.js';
import type { Cut, CutOptions } from './cuts.js';
import type { DiskImage } from './disk-image.js';
import type { Recovered, Recoverers } from './recoverers.js';
import { treeProblems } from './situation.js';
import type { Recording } from './workload.js';

/** What {@link explore} counts; added up over recordings. */
export interface Tally {
  /** Images, each with what is allowed of it: an image that is met again is recovered once. */
  cutPoints: number;
  own: number;
  /** Filesystems that were changed after their recovery. */
  used: number;
  e2fsck: number;
  kernel: number;
  /** Cuts in each window: a part of an update that no medium makes whole got through. */
  readonly torn: Map<string, number>;
  /** The kernel's refusals, all of them in windows and repaired by e2fsck. */
  readonly refused: Map<string, number>;
  /** What must not be; the first few. */
  readonly failures: string[];
}

/** How {@link explore} goes about it. */
export interface ExploreOptions extends CutOptions {
  /** Asks the kernel about one cut in so many, and about all of superblocks; never without. */
  readonly kernelOneIn?: number;
  /** Uses one recovered filesystem in so many; never without. */
  readonly useOneIn?: number;
  /** The media were torn in a window before: e2fsck has more to say at first. */
  readonly wasTorn?: boolean;
  /** Ends when there were so many failures. */
  readonly failuresMax?: number;
}

export function newTally(): Tally {
  return {
    cutPoints: 0,
    own: 0,
    used: 0,
    e2fsck: 0,
    kernel: 0,
    torn: new Map(),
    refused: new Map(),
    failures: [],
  };
}

function describeCounts(counts: ReadonlyMap<string, number>): string {
  if (counts.size === 0) return 'none';
  return [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
}

/** A tally in one line. */
export function describeTally(tally: Tally): string {
  return [
    `${tally.cutPoints} cut points`,
    `recovered by daxd ${tally.own} (and used ${tally.used})`,
    `by e2fsck -fy ${tally.e2fsck}`,
    `by the kernel ${tally.kernel}`,
    `windows: ${describeCounts(tally.torn)}`,
    `refused by the kernel and repaired: ${describeCounts(tally.refused)}`,
  ].join('; ');
}

const FAILURES_MAX = 5;
/** Recovered trees that are kept for the same image at another place of the log. */
const KNOWN_MAX = 40;
const WORDS_UNIT = 8;

/** Cuts a recording everywhere, and has each cut recovered by all. */
export async function explore(
  recording: Recording,
  recoverers: Recoverers,
  tally: Tally,
  options: ExploreOptions,
): Promise<void> {
  const image = recording.before.copy();
  const explorer = new Explorer(image, recoverers, tally, options);
  for (const cut of cutsOf(recording, image, options)) {
    await explorer.cut(cut);
    if (tally.failures.length >= (options.failuresMax ?? FAILURES_MAX)) return;
  }
}

interface Known {
  readonly own: Recovered;
  readonly fsck: Recovered;
}

class Explorer {
  readonly #image: DiskImage;
  readonly #recoverers: Recoverers;
  readonly #tally: Tally;
  readonly #options: ExploreOptions;
  readonly #done = new Set<string>();
  readonly #known = new Map<bigint, Known>();

  constructor(image: DiskImage, recoverers: Recoverers, tally: Tally, options: ExploreOptions) {
    this.#image = image;
    this.#recoverers = recoverers;
    this.#tally = tally;
    this.#options = options;
  }

  async cut(cut: Cut): Promise<void> {
    const allowed = cut.situation.operations.map(({ operation, progress }) => {
      return `${operation.name} ${progress}`;
    });
    const key = `${cut.identity} ${allowed.join(' ')}`;
    if (this.#done.has(key)) return;
    this.#done.add(key);
    this.#tally.cutPoints++;
    for (const { name } of cut.torn) add(this.#tally.torn, name);
    this.#image.begin();
    try {
      for (const { offset, bytes } of cut.lines) this.#image.put(offset, bytes);
      await this.#recover(cut);
    } finally {
      this.#image.rollback();
    }
  }

  async #recover(cut: Cut): Promise<void> {
    const known = this.#known.get(cut.identity);
    const fsck = known?.fsck ?? (await this.#askFsck(cut));
    this.#judge('e2fsck', cut, fsck);
    const oneIn = this.#options.kernelOneIn ?? 0;
    const isAlways = cut.torn.length > 0 || cut.isRare;
    if (this.#isChosen(isAlways ? Math.min(1, oneIn) : oneIn)) await this.#askKernel(cut);
    // Last, for it changes the image.
    const own = known?.own ?? (await this.#recoverOwn(cut));
    this.#judge('daxd', cut, own);
    this.#remember(cut.identity, { own, fsck });
  }

  async #askFsck({ torn }: Cut): Promise<Recovered> {
    this.#tally.e2fsck++;
    const isTorn = torn.length > 0 || this.#options.wasTorn === true;
    return await this.#recoverers.fsck(this.#image, isTorn);
  }

  async #recoverOwn({ durable }: Cut): Promise<Recovered> {
    const isUsed = this.#isChosen(this.#options.useOneIn ?? 0);
    this.#tally.own++;
    if (isUsed) this.#tally.used++;
    return await this.#recoverers.own(this.#image, { durable, isUsed });
  }

  async #askKernel(cut: Cut): Promise<void> {
    const recovered = await this.#recoverers.kernel(this.#image);
    this.#tally.kernel++;
    if (recovered.refusal === undefined) {
      this.#judge('the kernel', cut, recovered);
      return;
    }
    const window = this.#windowOf(cut);
    if (window === undefined) this.#fail('the kernel', cut, [`refuses: ${recovered.refusal}`]);
    else add(this.#tally.refused, window);
  }

  /** The window whose tearing excuses a refusal by the kernel, and when. */
  #windowOf({ torn, situation }: Cut): string | undefined {
    const running = situation.operations.find(({ progress }) => progress === 'running');
    const name = running?.operation.name ?? 'nothing';
    const isMount = name === 'mount' || name === 'unmount';
    const window = torn.find(({ excuses }) => {
      return excuses === 'when lines are torn' ? situation.unit === WORDS_UNIT : isMount;
    });
    return window === undefined
      ? undefined
      : `${window.name} at ${isMount ? name : 'another time'}`;
  }

  #judge(who: string, cut: Cut, { tree, problems }: Recovered): void {
    const wrong = tree === undefined ? [] : treeProblems(tree, cut.situation);
    if (problems.length + wrong.length > 0) this.#fail(who, cut, [...problems, ...wrong]);
  }

  #fail(who: string, cut: Cut, problems: readonly string[]): void {
    const names = cut.torn.map(({ name }) => name).join(', ');
    const torn = names === '' ? '' : ` torn ${names}`;
    this.#tally.failures.push(`${cut.name}${torn}: ${who}: ${problems.join('; ')}`);
  }

  #remember(identity: bigint, known: Known): void {
    this.#known.set(identity, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > KNOWN_MAX && oldest !== undefined) this.#known.delete(oldest);
  }

  #isChosen(oneIn: number): boolean {
    return oneIn > 0 && this.#options.random.below(oneIn) === 0;
  }
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
