import type { SeededRandom } from '../seeded-random.js';
import type { Model, ModelName } from './model.js';

const BLOCK = 4096;
const GIB = 2 ** 30;
const NAME_BYTES_MAX = 255;
/** The last byte that a file can have (layout.ts, FILE_SIZE_MAX). */
const FILE_BYTES_MAX = 2 ** 44 - BLOCK;
/** Far out: past 4 GiB, where numbers need more than 32 bits, and at the end of what there is. */
const FAR_OFFSETS = [
  4 * GIB - 1,
  4 * GIB,
  5 * GIB + 123,
  1024 * GIB,
  FILE_BYTES_MAX - BLOCK,
  FILE_BYTES_MAX,
];

/** Chooses paths and places in files, such that most are there and some are not. */
export class PlaceChooser {
  readonly #model: Model;
  readonly #random: SeededRandom;
  #names = 0;

  constructor(model: Model, random: SeededRandom) {
    this.#model = model;
    this.#random = random;
  }

  /** Where nothing is, mostly, in a directory that is there, mostly. */
  free(): string {
    const random = this.#random;
    const name = this.#newName();
    switch (random.below(30)) {
      case 0:
        return `missing${random.below(9)}/${name}`;
      case 1:
        return this.#below(this.#model.some(random, 'file'), name);
      case 2:
      case 3:
        return this.#below(this.#model.some(random, 'symlink'), name);
      case 4:
      case 5:
        return this.any();
      default:
        return this.#below(this.#directory(), name);
    }
  }

  /** Where something is, mostly, whatever it is. */
  any(): string {
    const random = this.#random;
    switch (random.below(30)) {
      case 0:
        return this.free();
      case 1:
        return this.#crowdName();
      case 2:
      case 3:
        return this.#throughSymlink();
      case 4:
        return random.below(8) === 0 ? '' : 'missing';
      default:
        return this.#pathOr(random.pick(this.#model.names), this.#newName());
    }
  }

  /** A file, mostly: by its name, or a symlink that may lead to one. */
  file(): string {
    const random = this.#random;
    switch (random.below(30)) {
      case 0:
        return this.any();
      case 1:
        return this.#pathOr(this.#model.some(random, 'symlink'), 'missing');
      case 2:
        return this.#crowdName();
      default:
        return this.#pathOr(this.#model.some(random, 'file'), 'missing');
    }
  }

  /** A target for a symlink: what is there, from the root or from a directory; or nothing. */
  target(): string {
    const random = this.#random;
    switch (random.below(8)) {
      case 0:
        return 't'.repeat(1 + random.below(59));
      case 1:
        return 'ä'.repeat(25 + random.below(2000));
      case 2:
        return 't'.repeat(random.pick([59, 60, 61, 4094, 4095, 4096]) ?? 60);
      case 3:
        return '.';
      case 4:
        return `/${this.#model.pathOf(random.pick(this.#model.names))}`;
      default: {
        const name = random.pick(this.#model.names);
        const up = random.below(3);
        return up === 0 ? this.#pathOr(name, 'x') : `${'../'.repeat(up)}${name?.name ?? 'x'}`;
      }
    }
  }

  /** A place in a file, at its end or past it; near the edges of blocks more often than not. */
  offset(name: ModelName | undefined): number {
    const random = this.#random;
    const size = name?.node.size ?? 0;
    switch (random.below(24)) {
      case 0:
        return size;
      case 1:
        return size + random.below(3 * BLOCK);
      case 2:
        return size + random.below(64 * BLOCK);
      case 3:
        return 0;
      case 4:
        return random.below(40) === 0 ? (random.pick(FAR_OFFSETS) ?? 0) : size;
      default:
        return this.#within(size);
    }
  }

  /** How many bytes to touch; rarely none. */
  length(): number {
    const random = this.#random;
    switch (random.below(20)) {
      case 0:
        return random.below(5) === 0 ? 0 : 1;
      case 1:
      case 2:
      case 3:
        return 1 + random.below(200);
      case 4:
      case 5:
      case 6:
        return BLOCK * (1 + random.below(12));
      case 7:
        return random.below(600_000);
      case 8:
        return random.below(4) === 0 ? random.below(3_000_000) : BLOCK;
      default:
        return 1 + random.below(40_000);
    }
  }

  /** A range for collapse and insert: whole blocks, mostly within the file. */
  aligned(name: ModelName | undefined): { offset: number; length: number } {
    const random = this.#random;
    const offset = this.offset(name);
    const length = this.length();
    if (random.below(12) === 0) return { offset, length };
    const size = name?.node.size ?? 0;
    const first = Math.floor(Math.min(offset, size) / BLOCK);
    const rest = Math.max(1, Math.ceil(size / BLOCK) - first);
    const blocks = Math.min(Math.ceil(length / BLOCK), Math.max(1, Math.floor(rest / 2)));
    return { offset: first * BLOCK, length: Math.max(1, blocks) * BLOCK };
  }

  #within(size: number): number {
    const random = this.#random;
    if (size === 0) return random.below(3 * BLOCK);
    const place = Math.floor((random.below(2 ** 30) / 2 ** 30) * size);
    switch (random.below(4)) {
      case 0:
        return place;
      case 1:
        return place - (place % BLOCK);
      default:
        return Math.max(0, place - (place % BLOCK) + random.below(64) - 32);
    }
  }

  #directory(): ModelName | undefined {
    return this.#random.below(6) === 0 ? undefined : this.#model.some(this.#random, 'directory');
  }

  #below(parent: ModelName | undefined, name: string): string {
    return parent === undefined ? name : `${this.#model.pathOf(parent)}/${name}`;
  }

  #throughSymlink(): string {
    const symlink = this.#model.some(this.#random, 'symlink');
    const name = this.#random.pick(this.#model.names)?.name ?? 'missing';
    return this.#below(symlink, name);
  }

  #crowdName(): string {
    const crowd = this.#random.pick(this.#model.crowds);
    if (crowd === undefined) return 'missing';
    const name = `c${crowd.first + this.#random.below(crowd.count)}-`;
    return this.#below(crowd.directory, name.padEnd(crowd.nameLength, 'x'));
  }

  #pathOr(name: ModelName | undefined, otherwise: string): string {
    return name === undefined ? otherwise : this.#model.pathOf(name);
  }

  #newName(): string {
    const random = this.#random;
    const head = `n${this.#names++}`;
    switch (random.below(24)) {
      case 0:
        return head.padEnd(random.below(3) === 0 ? NAME_BYTES_MAX + 1 : NAME_BYTES_MAX, 'y');
      case 1:
        return `${head}${'ä'.repeat(random.below(120))}`;
      case 2:
        return `${head}.${'z'.repeat(random.below(200))}`;
      case 3:
        return `${head} \t"'\\\n`;
      default:
        return head;
    }
  }
}
