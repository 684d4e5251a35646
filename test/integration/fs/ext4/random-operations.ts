import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import type { SeededRandom } from '../../../support/seeded-random.js';
import { readAll } from './set-up.js';

/** What a path holds, as the model has it. */
type ModelNode =
  | { readonly type: 'directory' }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'file'; content: Buffer };

const FILE_BYTES_MAX = 3 * 1024 * 1024;

/**
 * Runs random operations on a filesystem, and the same ones on a model in memory. What the
 * filesystem refuses must be what the model says it must refuse.
 */
export class RandomOperations {
  readonly #fs: Ext4;
  readonly #random: SeededRandom;
  readonly #nodes = new Map<string, ModelNode>([['', { type: 'directory' }]]);
  #names = 0;

  constructor(fs: Ext4, random: SeededRandom) {
    this.#fs = fs;
    this.#random = random;
  }

  /** Runs one, and says which. */
  async step(): Promise<string> {
    const steps = [
      () => this.#make('create'),
      () => this.#make('mkdir'),
      () => this.#make('symlink'),
      () => this.#replace(),
      () => this.#replace(),
      () => this.#write(),
      () => this.#write(),
      () => this.#write(),
      () => this.#truncate(),
      () => this.#punch(),
      () => this.#zero(),
      () => this.#preallocate(),
      () => this.#prepare(),
      () => this.#unlink(),
      () => this.#rename(),
      () => this.#rename(),
    ];
    const step = this.#random.pick(steps);
    return step === undefined ? '' : await step();
  }

  /** What differs between filesystem and model, one line each. */
  async differences(): Promise<string[]> {
    const lines: string[] = [];
    for (const [path, node] of this.#nodes) {
      const stat = this.#fs.stat(this.#fs.lookup(path, { follow: false }));
      if (stat.type !== node.type) lines.push(`${path}: a ${stat.type}, not a ${node.type}`);
      if (node.type === 'symlink' && stat.target !== node.target) lines.push(`${path}: target`);
      if (node.type === 'directory') {
        const names = [...this.#fs.readdir(stat.inode)].map(({ name }) => name.toString());
        const expected = this.#childrenOf(path);
        if (path === '') expected.push('lost+found');
        const isSame = names.toSorted().join('/') === expected.toSorted().join('/');
        if (!isSame) lines.push(`${path}: holds ${names.join(' ')}, not ${expected.join(' ')}`);
      }
      if (node.type === 'file' && !(await readAll(this.#fs, stat.inode)).equals(node.content)) {
        lines.push(`${path}: ${stat.size} bytes differ from ${node.content.length}`);
      }
    }
    return lines;
  }

  async #make(kind: 'create' | 'mkdir' | 'symlink'): Promise<string> {
    const path = this.#newPath();
    const target = 't'.repeat(1 + this.#random.below(120));
    await this.#try(
      async () => {
        if (kind === 'symlink') await this.#fs.symlink(path, target);
        else await this.#fs[kind](path);
      },
      () => {
        if (kind === 'mkdir') this.#nodes.set(path, { type: 'directory' });
        else if (kind === 'symlink') this.#nodes.set(path, { type: 'symlink', target });
        else this.#nodes.set(path, { type: 'file', content: Buffer.alloc(0) });
      },
    );
    return `${kind} ${path}`;
  }

  async #replace(): Promise<string> {
    const path = this.#random.below(2) === 0 ? this.#newPath() : (this.#aFile() ?? this.#newPath());
    const content = this.#random.bytes(this.#someLength());
    const cut = this.#random.below(content.length + 1);
    async function* pieces(): AsyncGenerator<Buffer> {
      yield content.subarray(0, cut);
      yield content.subarray(cut);
    }
    await this.#try(
      () => this.#fs.replace(path, pieces()),
      () => this.#nodes.set(path, { type: 'file', content }),
    );
    return `replace ${path} with ${content.length}`;
  }

  async #write(): Promise<string> {
    const path = this.#aFile();
    if (path === undefined) return await this.#replace();
    const offset = this.#someOffset(path);
    const data = this.#random.bytes(1 + this.#someLength());
    const isStored = await this.#try(
      () => this.#fs.write(this.#fs.lookup(path), offset, data),
      () => {
        this.#change(path, offset + data.length, (content) => content.set(data, offset));
      },
    );
    if (!isStored) await this.#takeOverwritten(path, offset);
    return `write ${path} at ${offset}, ${data.length}`;
  }

  /** A write that ran out of room may have overwritten what the file had, and nothing else. */
  async #takeOverwritten(path: string, offset: number): Promise<void> {
    const node = this.#nodes.get(path);
    const content = await readAll(this.#fs, this.#fs.lookup(path));
    const isAsAllowed =
      node?.type === 'file' &&
      content.length === node.content.length &&
      content.subarray(0, offset).equals(node.content.subarray(0, offset));
    if (!isAsAllowed) throw new Error(`${path}: a write without room changed more than it may`);
    node.content = content;
  }

  async #truncate(): Promise<string> {
    const path = this.#aFile();
    if (path === undefined) return await this.#make('create');
    const size = this.#someOffset(path);
    await this.#try(
      () => this.#fs.truncate(this.#fs.lookup(path), size),
      () => {
        this.#change(path, size, () => {});
        const node = this.#nodes.get(path);
        if (node?.type === 'file') node.content = node.content.subarray(0, size);
      },
    );
    return `truncate ${path} to ${size}`;
  }

  async #punch(): Promise<string> {
    const path = this.#aFile();
    if (path === undefined) return await this.#make('create');
    const offset = this.#someOffset(path);
    const length = 1 + this.#someLength();
    await this.#try(
      () => this.#fs.punchHole(this.#fs.lookup(path), offset, length),
      () => {
        this.#change(path, 0, (content) => content.subarray(offset, offset + length).fill(0));
      },
    );
    return `punch ${path} at ${offset}, ${length}`;
  }

  async #zero(): Promise<string> {
    const path = this.#aFile();
    if (path === undefined) return await this.#make('create');
    const offset = this.#someOffset(path);
    const length = 1 + this.#someLength();
    const keepSize = this.#random.below(2) === 0;
    await this.#try(
      () => this.#fs.zeroRange(this.#fs.lookup(path), offset, length, { keepSize }),
      () => {
        const size = keepSize ? 0 : offset + length;
        this.#change(path, size, (content) => content.subarray(offset, offset + length).fill(0));
      },
    );
    return `zero ${path} at ${offset}, ${length}, keepSize ${keepSize}`;
  }

  async #preallocate(): Promise<string> {
    const path = this.#aFile();
    if (path === undefined) return await this.#make('create');
    const offset = this.#someOffset(path);
    const length = 1 + this.#someLength();
    const keepSize = this.#random.below(2) === 0;
    await this.#try(
      () => this.#fs.fallocate(this.#fs.lookup(path), offset, length, { keepSize }),
      () => {
        this.#change(path, keepSize ? 0 : offset + length, () => {});
      },
    );
    return `fallocate ${path} at ${offset}, ${length}, keepSize ${keepSize}`;
  }

  async #prepare(): Promise<string> {
    const path = this.#aFile();
    const node = path === undefined ? undefined : this.#nodes.get(path);
    if (path === undefined || node?.type !== 'file' || node.content.length === 0) {
      return await this.#replace();
    }
    const offset = this.#random.below(node.content.length);
    const length = 1 + this.#random.below(node.content.length - offset);
    await this.#try(
      () => this.#fs.prepareDma(this.#fs.lookup(path), offset, length, 'write'),
      () => {},
    );
    return `prepareDma ${path} at ${offset}, ${length}`;
  }

  async #unlink(): Promise<string> {
    const path = this.#random.pick([...this.#nodes.keys()].filter((key) => key !== ''));
    if (path === undefined) return await this.#make('mkdir');
    const isFull = this.#childrenOf(path).length > 0;
    await this.#try(
      () => this.#fs.unlink(path),
      () => this.#nodes.delete(path),
      isFull ? 'ENOTEMPTY' : undefined,
    );
    return `unlink ${path}`;
  }

  async #rename(): Promise<string> {
    const paths = [...this.#nodes.keys()].filter((path) => path !== '');
    const from = this.#random.pick(paths);
    if (from === undefined) return await this.#make('create');
    const to = this.#random.below(2) === 0 ? this.#newPath() : (this.#random.pick(paths) ?? '');
    await this.#try(
      () => this.#fs.rename(from, to),
      () => {
        if (from !== to) this.#move(from, to);
      },
      this.#renameRefusal(from, to),
    );
    return `rename ${from} to ${to}`;
  }

  #move(from: string, to: string): void {
    this.#nodes.delete(to);
    for (const [path, node] of this.#nodes) {
      if (path !== from && !path.startsWith(`${from}/`)) continue;
      this.#nodes.delete(path);
      this.#nodes.set(to + path.slice(from.length), node);
    }
  }

  #renameRefusal(from: string, to: string): DaxdError['code'] | undefined {
    const source = this.#nodes.get(from)?.type;
    const target = this.#nodes.get(to)?.type;
    if (from === to) return undefined;
    if (to.startsWith(`${from}/`)) return 'EINVAL';
    if (target === undefined) return undefined;
    // The kernel looks for this before it compares the types.
    if (from.startsWith(`${to}/`)) return 'ENOTEMPTY';
    if (source === 'directory' && target !== 'directory') return 'ENOTDIR';
    if (source !== 'directory' && target === 'directory') return 'EISDIR';
    return this.#childrenOf(to).length > 0 ? 'ENOTEMPTY' : undefined;
  }

  /** Runs it on the filesystem, and on the model when it must not be refused; false without room. */
  async #try(
    run: () => Promise<unknown>,
    model: () => unknown,
    refusal?: DaxdError['code'],
  ): Promise<boolean> {
    let code: DaxdError['code'] | undefined;
    try {
      await run();
    } catch (error) {
      if (!(error instanceof DaxdError)) throw error;
      code = error.code;
    }
    // A full filesystem refuses what it likes; the tree must be as it was.
    if (code === 'ENOSPC') return false;
    if (code !== refusal) throw new Error(`${code ?? 'no error'} instead of ${refusal ?? 'none'}`);
    if (code === undefined) model();
    return true;
  }

  /** Changes a file of the model, which first grows to `size` where it is smaller. */
  #change(path: string, size: number, change: (content: Buffer) => unknown): void {
    const node = this.#nodes.get(path);
    if (node?.type !== 'file') return;
    const grown = Buffer.alloc(Math.max(size, node.content.length));
    node.content.copy(grown);
    change(grown);
    node.content = grown;
  }

  #childrenOf(path: string): string[] {
    const head = path === '' ? '' : `${path}/`;
    return [...this.#nodes.keys()]
      .filter((key) => key !== '' && key.startsWith(head) && !key.slice(head.length).includes('/'))
      .map((key) => key.slice(head.length));
  }

  #newPath(): string {
    const directories = [...this.#nodes].filter(([, { type }]) => type === 'directory');
    const [directory = ''] = this.#random.pick(directories) ?? [];
    const name = `n${this.#names++}${'ä'.repeat(this.#random.below(60))}`;
    return directory === '' ? name : `${directory}/${name}`;
  }

  #aFile(): string | undefined {
    const files = [...this.#nodes].filter(([, { type }]) => type === 'file');
    return this.#random.pick(files)?.[0];
  }

  /** An offset in a file or a little past its end; often on a block's border. */
  #someOffset(path: string): number {
    const node = this.#nodes.get(path);
    const size = node?.type === 'file' ? node.content.length : 0;
    const offset = this.#random.below(Math.min(FILE_BYTES_MAX, size + 40_000));
    return this.#random.below(3) === 0 ? offset - (offset % 4096) : offset;
  }

  #someLength(): number {
    const limit = this.#random.pick([10, 5000, 20_000, 200_000, 1_200_000]) ?? 0;
    const length = this.#random.below(limit);
    return this.#random.below(3) === 0 ? length - (length % 4096) : length;
  }
}
