import { PAGE_SIZE } from '../../../src/lib/units.js';
import type { SeededRandom } from '../seeded-random.js';
import { pieceOf } from './scripted-workload.js';
import type { Tree } from './tree.js';
import type { Batch, Operation, Workload } from './workload.js';

const DIRECTORIES = ['d0', 'd1', 'd2'];
const TOGETHER_MAX = 4;
const FILES_MAX = 12;

/** Random changes, one by one and up to four at a time; the same for the same seed. */
export function randomWorkload(random: SeededRandom, batches: number): Workload {
  return (tree) => new RandomBatches(random, tree).all(batches);
}

class RandomBatches {
  readonly #random: SeededRandom;
  readonly #tree: () => Tree;
  #names = 0;

  constructor(random: SeededRandom, tree: () => Tree) {
    this.#random = random;
    this.#tree = tree;
  }

  *all(batches: number): Generator<Batch> {
    for (const path of DIRECTORIES) {
      if (this.#tree().has(path)) continue;
      yield [{ name: `mkdir ${path}`, touches: [path], run: (fs) => fs.mkdir(path) }];
    }
    for (let i = 0; i < batches; i++) {
      if (this.#random.below(12) === 0) yield 'remount';
      else yield this.#batch();
    }
  }

  #batch(): Operation[] {
    const count = this.#random.below(2) === 0 ? 1 : 1 + this.#random.below(TOGETHER_MAX);
    const operations: Operation[] = [];
    const touched = new Set<string>();
    for (let i = 0; i < count; i++) {
      const operation = this.#operation(touched);
      for (const path of operation.touches) {
        for (const name of this.#namesOf(path)) touched.add(name);
      }
      operations.push(operation);
    }
    return operations;
  }

  #operation(touched: ReadonlySet<string>): Operation {
    const files = [...this.#tree()]
      .filter(([path, { type }]) => type === 'file' && !touched.has(path))
      .map(([path]) => path);
    const path = this.#random.pick(files);
    const isFull = files.length >= FILES_MAX;
    if (path === undefined || (!isFull && this.#random.below(3) === 0)) return this.#make();
    if (isFull && this.#random.below(3) === 0) return this.#unlink(path);
    const size = this.#tree().get(path)?.size ?? 0;
    const change = this.#random.pick([
      () => this.#write(path, size),
      () => this.#write(path, size),
      () => this.#truncate(path, size),
      () => this.#punch(path, size),
      () => this.#preallocate(path, size),
      () => this.#replace(path),
      () => this.#rename(path),
      () => this.#renameOver(path, files),
      () => this.#unlink(path),
      () => this.#link(path),
      () => this.#xattr(path),
      () => this.#append(path),
      () => this.#shift(path, size),
      () => this.#zero(path, size),
      () => this.#prepare(path, size),
      () => this.#chmod(path),
    ]);
    return change === undefined ? this.#make() : change();
  }

  #make(): Operation {
    const path = this.#newPath();
    const target = 't'.repeat(1 + this.#random.below(120));
    const make = (name: string, run: Operation['run']): Operation => {
      return { name: `${name} ${path}`, touches: [path], run };
    };
    const made = this.#random.pick([
      () => make('create', (fs) => fs.create(path)),
      () => make('mkdir', (fs) => fs.mkdir(path)),
      () => make('symlink', (fs) => fs.symlink(path, target)),
      () => make('mknod', (fs) => fs.mknod(path, { type: 'fifo', mode: 0o640 })),
      () => this.#replace(path),
      () => this.#replace(path),
      () => this.#replace(path),
    ]);
    return made === undefined ? this.#replace(path) : made();
  }

  #replace(path: string): Operation {
    const content = this.#random.bytes(this.#length());
    return {
      name: `replace ${path}`,
      touches: this.#namesOf(path),
      run: (fs) => fs.replace(path, pieceOf(content)),
    };
  }

  #write(path: string, size: number): Operation {
    const offset = this.#random.below(size + 6000);
    const content = this.#random.bytes(1 + this.#length());
    return {
      name: `write ${path} at ${offset}, ${content.length}`,
      touches: this.#namesOf(path),
      torn: 'before the commit',
      run: (fs) => fs.write(fs.lookup(path), offset, content),
    };
  }

  #append(path: string): Operation {
    const content = this.#random.bytes(1 + this.#length());
    return {
      name: `append ${content.length} to ${path}`,
      touches: this.#namesOf(path),
      run: (fs) => fs.append(fs.lookup(path), content),
    };
  }

  /** Takes blocks out of the middle of a file, or puts some in. */
  #shift(path: string, size: number): Operation {
    const blocks = Math.floor(size / PAGE_SIZE);
    if (blocks < 3) return this.#append(path);
    const offset = this.#random.below(blocks - 2) * PAGE_SIZE;
    const isIn = this.#random.below(2) === 0;
    return {
      name: `${isIn ? 'insert into' : 'collapse'} ${path} at ${offset}`,
      touches: this.#namesOf(path),
      run: (fs) =>
        isIn
          ? fs.insertRange(fs.lookup(path), offset, 2 * PAGE_SIZE)
          : fs.collapseRange(fs.lookup(path), offset, PAGE_SIZE),
    };
  }

  #zero(path: string, size: number): Operation {
    const offset = this.#random.below(size + 1);
    const length = 1 + this.#length();
    const keepSize = this.#random.below(2) === 0;
    return {
      name: `zero ${path} at ${offset}, ${length}`,
      touches: this.#namesOf(path),
      torn: 'around the commit',
      run: (fs) => fs.zeroRange(fs.lookup(path), offset, length, { keepSize }),
    };
  }

  /** Makes holes and unwritten blocks zeros that can be lent: nothing is to be seen of it. */
  #prepare(path: string, size: number): Operation {
    if (size === 0) return this.#append(path);
    const offset = this.#random.below(size);
    const length = 1 + this.#random.below(size - offset);
    return {
      name: `prepare ${path} at ${offset}, ${length}`,
      touches: this.#namesOf(path),
      run: (fs) => fs.prepareDma(fs.lookup(path), offset, length, 'write'),
    };
  }

  #chmod(path: string): Operation {
    const mode = this.#random.below(0o1000);
    return {
      name: `chmod ${path} ${mode.toString(8)}`,
      touches: this.#namesOf(path),
      run: (fs) => fs.setAttributes(fs.lookup(path), { mode }),
    };
  }

  #truncate(path: string, size: number): Operation {
    const to = this.#random.below(size + 10_000);
    return {
      name: `truncate ${path} to ${to}`,
      touches: this.#namesOf(path),
      run: (fs) => fs.truncate(fs.lookup(path), to),
    };
  }

  #punch(path: string, size: number): Operation {
    const offset = this.#random.below(size + 1);
    const length = 1 + this.#length();
    return {
      name: `punch ${path} at ${offset}, ${length}`,
      touches: this.#namesOf(path),
      torn: 'around the commit',
      run: (fs) => fs.punchHole(fs.lookup(path), offset, length),
    };
  }

  #preallocate(path: string, size: number): Operation {
    const offset = this.#random.below(size + PAGE_SIZE);
    const length = 1 + this.#length();
    const keepSize = this.#random.below(2) === 0;
    return {
      name: `fallocate ${path} at ${offset}, ${length}`,
      touches: this.#namesOf(path),
      run: (fs) => fs.fallocate(fs.lookup(path), offset, length, { keepSize }),
    };
  }

  #rename(path: string): Operation {
    const to = this.#newPath();
    return {
      name: `rename ${path} to ${to}`,
      touches: [path, to],
      run: (fs) => fs.rename(path, to),
    };
  }

  #renameOver(path: string, files: readonly string[]): Operation {
    const to = this.#random.pick(files) ?? path;
    return {
      name: `rename ${path} over ${to}`,
      touches: [path, to],
      run: (fs) => fs.rename(path, to),
    };
  }

  #unlink(path: string): Operation {
    return { name: `unlink ${path}`, touches: [path], run: (fs) => fs.unlink(path) };
  }

  #link(path: string): Operation {
    const to = this.#newPath();
    // What another does to the file at the same time would show under the new name too.
    const touches = [...this.#namesOf(path), to];
    return { name: `link ${path} to ${to}`, touches, run: (fs) => fs.link(path, to) };
  }

  #xattr(path: string): Operation {
    const value = this.#random.bytes(1 + this.#random.below(300));
    const name = `user.n${this.#random.below(5)}`;
    return {
      name: `set ${name} of ${path}`,
      touches: this.#namesOf(path),
      run: (fs) => fs.setXattr(fs.lookup(path), name, value),
    };
  }

  /** A change of a file shows under each of its names. */
  #namesOf(path: string): string[] {
    const inode = this.#tree().get(path)?.inode;
    if (inode === undefined) return [path];
    return [...this.#tree()].filter(([, entry]) => entry.inode === inode).map(([name]) => name);
  }

  #newPath(): string {
    const directory = this.#random.pick(DIRECTORIES) ?? '';
    return `${directory}/n${this.#names++}${'x'.repeat(this.#random.below(100))}`;
  }

  #length(): number {
    const limit = this.#random.pick([10, 3000, 9000, 60_000]) ?? 0;
    const length = this.#random.below(limit);
    return this.#random.below(3) === 0 ? length - (length % PAGE_SIZE) : length;
  }
}
