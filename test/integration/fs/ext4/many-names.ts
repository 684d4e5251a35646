import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import type { SeededRandom } from '../../../support/seeded-random.js';

/** Changes that are under way at one time. */
export const BATCH = 500;

/** Random changes of the names in one directory, and what must be there after them. */
export class ManyNames {
  readonly #fs: Ext4;
  readonly #random: SeededRandom;
  readonly #directory: string;
  readonly names: string[] = [];
  #made = 0;

  constructor(fs: Ext4, random: SeededRandom, directory: string) {
    this.#fs = fs;
    this.#random = random;
    this.#directory = directory;
  }

  async create(count: number): Promise<void> {
    for (let left = count; left > 0; left -= BATCH) {
      const names = Array.from({ length: Math.min(left, BATCH) }, () => this.newName());
      await Promise.all(names.map((name) => this.#fs.create(this.#path(name))));
      this.names.push(...names);
    }
  }

  /** Removes, renames to a new name and over one that is there, and creates, all at once. */
  async mix(count: number): Promise<void> {
    const changes: Promise<unknown>[] = [];
    const added: string[] = [];
    for (let i = 0; i < count; i++) {
      const kind = this.names.length < 10 ? 3 : this.#random.below(4);
      const fresh = this.newName();
      if (kind === 0) {
        changes.push(this.#fs.unlink(this.#path(this.#take())));
      } else if (kind === 1) {
        changes.push(this.#fs.rename(this.#path(this.#take()), this.#path(fresh)));
        added.push(fresh);
      } else if (kind === 2) {
        const over = this.#take();
        changes.push(this.#fs.rename(this.#path(this.#take()), this.#path(over)));
        added.push(over);
      } else {
        changes.push(this.#fs.create(this.#path(fresh)));
        added.push(fresh);
      }
    }
    await Promise.all(changes);
    this.names.push(...added);
  }

  /** A name of 1 to 255 bytes, of ASCII or of any planes of Unicode, not had before. */
  newName(): string {
    const number = (this.#made++).toString(36);
    const limit = [8, 40, 40, 255][this.#random.below(4)] ?? 8;
    const rest = this.#random.below(limit - number.length + 1);
    const wide = this.#random.below(2) === 0;
    let name = rest === 0 ? number : `${number}.`;
    for (let left = rest - 1; left > 0;) {
      const size = wide && left > 1 ? 1 + this.#random.below(Math.min(left, 4)) : 1;
      name += this.#character(size);
      left -= size;
    }
    return name;
  }

  /** A character of so many bytes of UTF-8. */
  #character(bytes: number): string {
    const [from, to] = (
      [
        [0x30, 0x7e],
        [0x80, 0x7ff],
        [0x800, 0xd7ff],
        [0x10000, 0x10ffff],
      ] as const
    )[bytes - 1] ?? [0x30, 0x7e];
    return String.fromCodePoint(from + this.#random.below(to - from));
  }

  /** Takes a name out of those that are there. */
  #take(): string {
    const at = this.#random.below(this.names.length);
    const last = this.names.pop() ?? '';
    if (at === this.names.length) return last;
    const taken = this.names[at] ?? '';
    this.names[at] = last;
    return taken;
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }
}
