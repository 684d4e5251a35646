import type { SeededRandom } from '../seeded-random.js';
import type { Operation, OperationKind, OperationOf } from './operation.js';

const BLOCK = 4096;

/** What a node of the model is. */
export type ModelType = 'file' | 'directory' | 'symlink' | 'special';

/** An inode, as far as the generator cares: enough for most operations to hit something. */
export interface ModelNode {
  readonly type: ModelType;
  size: number;
  /** At least so many blocks as it has. */
  blocksBound: number;
  readonly xattrs: Set<string>;
}

/** A name: of a node, in a directory. */
export interface ModelName {
  readonly name: string;
  readonly node: ModelNode;
  /** Undefined for the root's children. */
  readonly parent: ModelName | undefined;
}

/** Names that one `crowd` made. */
export interface Crowd {
  readonly directory: ModelName | undefined;
  readonly first: number;
  readonly count: number;
  readonly nameLength: number;
}

/**
 * What a program has done so far, kept from what succeeded. It is a help to choose from and no
 * judge: where it is wrong, an operation misses.
 */
export class Model {
  /** In no particular order. */
  readonly names: ModelName[] = [];
  readonly crowds: Crowd[] = [];
  #byPath = new Map<string, ModelName>();

  /** At least as many blocks as all files have. */
  get blocksBound(): number {
    let sum = 0;
    for (const node of new Set(this.names.map(({ node }) => node))) sum += node.blocksBound;
    return sum;
  }

  pathOf(name: ModelName | undefined): string {
    if (name === undefined) return '';
    return name.parent === undefined ? name.name : `${this.pathOf(name.parent)}/${name.name}`;
  }

  find(path: string): ModelName | undefined {
    return this.#byPath.get(path);
  }

  some(random: SeededRandom, type: ModelType): ModelName | undefined {
    return random.pick(this.names.filter(({ node }) => node.type === type));
  }

  /** Takes over that an operation succeeded. */
  apply(operation: Operation): void {
    CHANGES[operation.kind]?.(this, operation as never);
  }

  add(path: string, node: ModelNode): void {
    const slash = path.lastIndexOf('/');
    const parentPath = slash < 0 ? '' : path.slice(0, slash);
    const parent = this.#byPath.get(parentPath);
    // Reached through a symlink: it is not known where.
    if (parentPath !== '' && parent?.node.type !== 'directory') return;
    const name = { name: path.slice(slash + 1), node, parent };
    this.names.push(name);
    this.#byPath.set(path, name);
  }

  remove(path: string): ModelName | undefined {
    const name = this.#byPath.get(path);
    if (name === undefined) return undefined;
    this.names.splice(this.names.indexOf(name), 1);
    this.#byPath.delete(path);
    return name;
  }

  move(from: string, to: string): void {
    if (from === to || this.#byPath.get(from)?.node === this.#byPath.get(to)?.node) return;
    this.remove(to);
    const moved = this.remove(from);
    if (moved === undefined) return;
    this.add(to, moved.node);
    const now = this.#byPath.get(to);
    if (moved.node.type !== 'directory' || now === undefined) return;
    this.#adopt(moved, now);
  }

  /** Names below a directory that moved hang on its new name. */
  #adopt(before: ModelName, now: ModelName): void {
    for (const [i, crowd] of this.crowds.entries()) {
      if (crowd.directory === before) this.crowds[i] = { ...crowd, directory: now };
    }
    for (const [i, name] of this.names.entries()) {
      if (name.parent !== before) continue;
      const adopted = { ...name, parent: now };
      this.names[i] = adopted;
      if (name.node.type === 'directory') this.#adopt(name, adopted);
    }
    this.#byPath = new Map(this.names.map((name) => [this.pathOf(name), name]));
  }
}

function newNode(type: ModelType): ModelNode {
  return { type, size: 0, blocksBound: type === 'directory' ? 1 : 0, xattrs: new Set() };
}

/** The file behind a path, and its node to be changed. */
function fileOf(model: Model, path: string): ModelNode | undefined {
  const node = model.find(path)?.node;
  return node?.type === 'file' ? node : undefined;
}

function grow(node: ModelNode | undefined, offset: number, length: number, keepSize = false): void {
  if (node === undefined) return;
  node.blocksBound += Math.ceil(length / BLOCK) + 1;
  if (!keepSize) node.size = Math.max(node.size, offset + length);
}

type Change<K extends OperationKind> = (model: Model, operation: OperationOf<K>) => void;

const CHANGES: { readonly [K in OperationKind]?: Change<K> } = {
  create: (model, { path }) => {
    model.add(path, newNode('file'));
  },
  mkdir: (model, { path }) => {
    model.add(path, newNode('directory'));
  },
  symlink: (model, { path }) => {
    model.add(path, newNode('symlink'));
  },
  mknod: (model, { path }) => {
    model.add(path, newNode('special'));
  },
  remove: (model, { path }) => {
    model.remove(path);
  },
  rename: (model, { path, to }) => {
    model.move(path, to);
  },
  link: (model, { path, to }) => {
    const node = model.find(path)?.node;
    if (node !== undefined) model.add(to, node);
  },
  crowd: (model, { directory, first, count, nameLength }) => {
    model.crowds.push({ directory: model.find(directory), first, count, nameLength });
  },
  replace: (model, { path, length }) => {
    if (model.find(path) === undefined) model.add(path, newNode('file'));
    const node = fileOf(model, path);
    if (node === undefined) return;
    node.blocksBound = 0;
    node.size = 0;
    grow(node, 0, length);
  },
  write: (model, { path, offset, length }) => {
    grow(fileOf(model, path), offset, length);
  },
  scatter: (model, { path, offset, count, stride }) => {
    const node = fileOf(model, path);
    if (node === undefined) return;
    node.blocksBound += 2 * count;
    node.size = Math.max(node.size, offset + (count - 1) * stride + 1);
  },
  append: (model, { path, length }) => {
    const node = fileOf(model, path);
    grow(node, node?.size ?? 0, length);
  },
  fallocate: (model, { path, offset, length, keepSize }) => {
    grow(fileOf(model, path), offset, length, keepSize);
  },
  zero: (model, { path, offset, length, keepSize }) => {
    grow(fileOf(model, path), offset, length, keepSize);
  },
  lend: (model, { path, length }) => {
    grow(fileOf(model, path), 0, length, true);
  },
  unlinkOpen: (model, { path }) => {
    model.remove(path);
  },
  truncate: (model, { path, size }) => {
    const node = fileOf(model, path);
    if (node === undefined) return;
    node.size = size;
    node.blocksBound = Math.min(node.blocksBound, Math.ceil(size / BLOCK));
  },
  collapse: (model, { path, length }) => {
    const node = fileOf(model, path);
    // The model is not told of every growth, as through a symlink; a size is none below 0.
    if (node !== undefined) node.size = Math.max(0, node.size - length);
  },
  insert: (model, { path, length }) => {
    const node = fileOf(model, path);
    if (node !== undefined) node.size += length;
  },
  setXattr: (model, { path, name }) => {
    model.find(path)?.node.xattrs.add(name);
  },
  removeXattr: (model, { path, name }) => {
    model.find(path)?.node.xattrs.delete(name);
  },
};
