import { SeededRandom } from '../seeded-random.js';
import { Model } from './model.js';
import type { Crowd } from './model.js';
import type { Attributes, NodeType, Operation, OperationKind } from './operation.js';
import { PlaceChooser } from './place-chooser.js';

/** Where operations come from: a generator, or a list. */
export interface OperationSource {
  /** The next one; undefined at the end. */
  next(): Operation | undefined;
  /** Told of each that succeeded. */
  succeeded(operation: Operation): void;
}

/** A fixed list of operations. */
export class Script implements OperationSource {
  readonly #operations: readonly Operation[];
  #next = 0;

  constructor(operations: readonly Operation[]) {
    this.#operations = operations;
  }

  next(): Operation | undefined {
    return this.#operations[this.#next++];
  }

  succeeded(): void {
    // A list does not depend on how its operations went.
  }
}

/** How often each kind comes up, against the others. */
const WEIGHTS: Readonly<Record<OperationKind, number>> = {
  create: 6,
  mkdir: 5,
  symlink: 4,
  mknod: 2,
  link: 4,
  rename: 10,
  remove: 9,
  write: 16,
  append: 5,
  replace: 4,
  truncate: 8,
  fallocate: 6,
  zero: 5,
  punch: 6,
  collapse: 4,
  insert: 4,
  read: 4,
  seek: 5,
  attributes: 8,
  setXattr: 9,
  getXattr: 2,
  removeXattr: 4,
  crowd: 1,
  thin: 1,
  scatter: 1,
  lend: 4,
  unlinkOpen: 2,
};

/** With fewer names more are made first. */
const NAMES_MIN = 12;
const FIRST_KINDS = ['create', 'mkdir', 'replace', 'symlink'] as const;
const NAMES_MAX = 250;
const CROWD_MAX = 200;
const SCATTER_MAX = 400;
const BLOCK = 4096;
const STRIDES = [2 * BLOCK, 2 * BLOCK, 3 * BLOCK - 7, 64 * BLOCK];
const CROWDED_NAMES_MAX = 40_000;
const NODE_TYPES: readonly NodeType[] = ['char', 'block', 'fifo', 'socket'];
/** What an inode can hold (inode-time.ts): from 1901 to 2446. */
const TIME_SECONDS = { from: -(2 ** 31), to: 2 ** 31 + 3 * 2 ** 32 - 1 };
const NS_PER_SECOND = 1_000_000_000;
const XATTR_NAMES = [
  'user.a',
  'user.b',
  'user.mime_type',
  'user.ä',
  `user.${'n'.repeat(60)}`,
  'trusted.t',
  `trusted.${'n'.repeat(240)}`,
  'security.s',
];
const BAD_XATTR_NAMES = ['user.', 'none.such', `user.${'n'.repeat(251)}`, 'plain'];
const BAD_XATTR_LENGTHS = [4060, 5000, 65537];

/** What a program is made from. */
export interface ProgramOptions {
  readonly seed: number;
  /** What the filesystem has room for: the program stays well below. */
  readonly blocks: number;
  readonly kinds: ReadonlySet<OperationKind>;
}

/** A random program: the same seed and the same outcomes give the same operations. */
export class Program implements OperationSource {
  readonly #random: SeededRandom;
  readonly #model = new Model();
  readonly #places: PlaceChooser;
  readonly #blocksMax: number;
  readonly #deck: readonly OperationKind[];
  #crowded = 0;
  #fill = 0;

  /** What makes an operation of each kind. */
  readonly #makers: { readonly [K in OperationKind]: () => Operation } = {
    create: () => ({ kind: 'create', path: this.#places.free() }),
    mkdir: () => ({ kind: 'mkdir', path: this.#places.free() }),
    symlink: () => ({
      kind: 'symlink',
      path: this.#places.free(),
      target: this.#places.target(),
    }),
    mknod: () => this.#mknod(),
    remove: () => ({ kind: 'remove', path: this.#places.any() }),
    link: () => ({ kind: 'link', ...this.#fromTo() }),
    rename: () => ({
      kind: 'rename',
      ...this.#fromTo(),
      noReplace: this.#random.below(4) === 0,
    }),
    crowd: () => this.#crowd(),
    thin: () => this.#thin(),
    attributes: () => this.#setAttributes(),
    setXattr: () => this.#setXattr(),
    getXattr: () => ({ kind: 'getXattr', ...this.#xattr() }),
    removeXattr: () => ({ kind: 'removeXattr', ...this.#xattr() }),
    replace: () => this.#replace(),
    write: () => ({ kind: 'write', ...this.#range(), fill: this.#fill }),
    append: () => {
      const { path, length } = this.#range();
      return { kind: 'append', path, length, fill: this.#fill };
    },
    scatter: () => {
      const { path, offset } = this.#range();
      const count = 1 + this.#random.below(SCATTER_MAX);
      const stride = this.#random.pick(STRIDES) ?? BLOCK;
      return { kind: 'scatter', path, offset, count, stride, fill: this.#fill };
    },
    truncate: () => {
      const { path, offset } = this.#range();
      return { kind: 'truncate', path, size: offset };
    },
    seek: () => {
      const { path, offset } = this.#range();
      return { kind: 'seek', path, offset, whence: this.#random.pick(['data', 'hole']) ?? 'data' };
    },
    read: () => ({ kind: 'read', ...this.#range() }),
    lend: () => ({ kind: 'lend', ...this.#range() }),
    unlinkOpen: () => ({ kind: 'unlinkOpen', ...this.#range(), fill: this.#fill }),
    punch: () => ({ kind: 'punch', ...this.#range() }),
    fallocate: () => ({ kind: 'fallocate', ...this.#range(), keepSize: this.#flip() }),
    zero: () => ({ kind: 'zero', ...this.#range(), keepSize: this.#flip() }),
    collapse: () => ({ kind: 'collapse', ...this.#aligned() }),
    insert: () => ({ kind: 'insert', ...this.#aligned() }),
  };

  constructor({ seed, blocks, kinds }: ProgramOptions) {
    this.#random = new SeededRandom(seed);
    this.#places = new PlaceChooser(this.#model, this.#random);
    this.#blocksMax = blocks * 0.4;
    this.#deck = (Object.keys(WEIGHTS) as OperationKind[])
      .filter((kind) => kinds.has(kind))
      .flatMap((kind) => Array.from({ length: WEIGHTS[kind] }, () => kind));
  }

  next(): Operation {
    this.#fill++;
    if (this.#model.blocksBound > this.#blocksMax) return this.#makeRoom();
    if (this.#model.names.length > NAMES_MAX && this.#random.below(2) === 0) {
      return { kind: 'remove', path: this.#places.any() };
    }
    const isEmpty = this.#model.names.length < NAMES_MIN;
    return this.#makers[this.#random.pick(isEmpty ? FIRST_KINDS : this.#deck) ?? 'create']();
  }

  succeeded(operation: Operation): void {
    this.#model.apply(operation);
    if (operation.kind === 'crowd') this.#crowded += operation.count;
  }

  #makeRoom(): Operation {
    const largest = this.#model.names
      .filter(({ node }) => node.type === 'file')
      .toSorted((a, b) => b.node.blocksBound - a.node.blocksBound)
      .slice(0, 8);
    const path = this.#model.pathOf(this.#random.pick(largest));
    if (this.#random.below(3) === 0) return { kind: 'truncate', path, size: 0 };
    return { kind: 'remove', path };
  }

  #mknod(): Operation {
    const type = this.#random.pick(NODE_TYPES) ?? 'fifo';
    const isDevice = type === 'char' || type === 'block';
    const isWide = this.#random.below(2) === 0;
    return {
      kind: 'mknod',
      path: this.#places.free(),
      type,
      mode: this.#random.below(0o1000),
      major: isDevice ? this.#random.below(isWide ? 4096 : 256) : 0,
      minor: isDevice ? this.#random.below(isWide ? 2 ** 20 : 256) : 0,
    };
  }

  #fromTo(): { path: string; to: string } {
    const path = this.#places.any();
    return { path, to: this.#random.below(5) < 3 ? this.#places.free() : this.#places.any() };
  }

  #crowd(): Operation {
    const random = this.#random;
    const known = this.#someCrowd();
    // Mostly into the directory that is crowded already: it must grow past one index block.
    const isOld = known !== undefined && random.below(5) > 0;
    const directory = isOld ? known.directory : this.#model.some(random, 'directory');
    return {
      kind: 'crowd',
      path: this.#model.pathOf(this.#model.some(random, 'file')),
      directory: this.#model.pathOf(directory),
      first: this.#fill * CROWD_MAX,
      count: this.#crowded < CROWDED_NAMES_MAX ? 1 + random.below(CROWD_MAX) : 1,
      nameLength: random.pick([16, 40, 120, 255]) ?? 16,
    };
  }

  #thin(): Operation {
    const known = this.#someCrowd();
    if (known === undefined) return this.#crowd();
    const skipped = this.#random.below(known.count);
    return {
      kind: 'thin',
      path: '',
      directory: this.#model.pathOf(known.directory),
      first: known.first + skipped,
      count: 1 + this.#random.below(known.count - skipped),
      nameLength: known.nameLength,
    };
  }

  #someCrowd(): Crowd | undefined {
    return this.#random.pick(this.#model.crowds.slice(-40));
  }

  #replace(): Operation {
    const path = this.#flip() ? this.#places.free() : this.#places.file();
    const exclusive = this.#random.below(3) === 0;
    return { kind: 'replace', path, exclusive, length: this.#places.length(), fill: this.#fill };
  }

  #range(): { path: string; offset: number; length: number } {
    const path = this.#places.file();
    const name = this.#model.find(path);
    return { path, offset: this.#places.offset(name), length: this.#places.length() };
  }

  #aligned(): { path: string; offset: number; length: number } {
    const path = this.#places.file();
    return { path, ...this.#places.aligned(this.#model.find(path)) };
  }

  #setAttributes(): Operation {
    const follow = this.#random.below(4) > 0;
    const path = this.#places.any();
    return { kind: 'attributes', path, follow, set: this.#attributes(follow) };
  }

  #setXattr(): Operation {
    const base = this.#xattr();
    // One fault at a time: which of two is named first is not for us to ask.
    const length = BAD_XATTR_NAMES.includes(base.name) ? 1 : this.#xattrLength();
    const only = this.#random.pick([undefined, undefined, undefined, 'create', 'replace'] as const);
    const choice = only === undefined ? {} : { only };
    return { kind: 'setXattr', ...base, length, fill: this.#fill, ...choice };
  }

  #xattr(): { path: string; follow: boolean; name: string } {
    const follow = this.#random.below(4) > 0;
    const path = this.#places.any();
    const known = this.#random.pick([...(this.#model.find(path)?.node.xattrs ?? [])]);
    return { path, follow, name: this.#xattrName(known) };
  }

  #flip(): boolean {
    return this.#random.below(2) === 0;
  }

  #attributes(follow: boolean): Attributes {
    const random = this.#random;
    // The kernel refuses the mode of a symlink after the owner is set; daxd sets all or nothing.
    const choice = follow ? 1 + random.below(15) : (random.pick([1, 2, 4, 14]) ?? 1);
    return {
      ...((choice & 1) !== 0 ? { mode: random.below(0o10000) } : {}),
      ...((choice & 2) !== 0 ? { uid: random.below(this.#flip() ? 1000 : 2 ** 32 - 1) } : {}),
      ...((choice & 2) !== 0 && this.#flip() ? { gid: random.below(2 ** 20) } : {}),
      ...((choice & 4) !== 0 ? { mtimeNs: this.#time() } : {}),
      ...((choice & 8) !== 0 ? { atimeNs: this.#time() } : {}),
    };
  }

  #time(): bigint {
    const { from, to } = TIME_SECONDS;
    const seconds = from + Math.floor(this.#random.below(2 ** 31) * ((to - from) / 2 ** 31));
    const ns = this.#random.below(3) === 0 ? 0 : this.#random.below(NS_PER_SECOND);
    return BigInt(seconds) * BigInt(NS_PER_SECOND) + BigInt(ns);
  }

  #xattrName(known: string | undefined): string {
    if (this.#random.below(25) === 0) return this.#random.pick(BAD_XATTR_NAMES) ?? 'plain';
    if (known !== undefined && this.#random.below(2) === 0) return known;
    return this.#random.pick(XATTR_NAMES) ?? 'user.a';
  }

  #xattrLength(): number {
    const random = this.#random;
    switch (random.below(12)) {
      case 0:
        return random.pick(BAD_XATTR_LENGTHS) ?? 0;
      case 1:
      case 2:
        return random.below(3900);
      case 3:
        return 0;
      default:
        return random.below(90);
    }
  }
}
