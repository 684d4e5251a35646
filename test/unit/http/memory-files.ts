import type { FileSystem } from '../../../src/http/control.js';
import { DaxdError } from '../../../src/lib/errno.js';

type Stat = ReturnType<FileSystem['stat']>;
type Changed = Awaited<ReturnType<FileSystem['truncate']>>;

interface MemoryFile {
  readonly inode: number;
  readonly type: Stat['type'];
  data: Buffer;
}

/** A flat filesystem in memory that records what it was asked to change. */
export class MemoryFiles implements FileSystem {
  readonly calls: unknown[][] = [];
  /** What the next change waits for. */
  gate: (signal: AbortSignal | undefined) => Promise<void> = async () => {};
  readonly #names = new Map<string, MemoryFile>();
  #nextInode = 12;

  constructor() {
    this.#names.set('', { inode: 2, type: 'directory', data: Buffer.alloc(4096) });
  }

  put(name: string, data: string | Buffer, type: Stat['type'] = 'file'): number {
    const inode = this.#nextInode++;
    this.#names.set(name, { inode, type, data: Buffer.from(data) });
    return inode;
  }

  bytes(name: string): string | undefined {
    return this.#names.get(name)?.data.toString();
  }

  lookup(path: string): number {
    const file = this.#names.get(path);
    if (file === undefined) throw new DaxdError('ENOENT', `there is no ${path}`);
    return file.inode;
  }

  stat(inode: number): Stat {
    const { type, data } = this.#inode(inode);
    return {
      inode,
      type,
      mode: type === 'directory' ? 0o40755 : 0o100644,
      nlink: 1,
      uid: 0,
      gid: 0,
      size: data.length,
      blocks: 8,
      atimeNs: 0n,
      mtimeNs: 1_700_000_000_123_456_789n,
      ctimeNs: 0n,
    } as Stat;
  }

  *readdir(): Generator<{ name: Buffer; type: Stat['type']; inode: number }> {
    for (const [name, { type, inode }] of this.#names) {
      yield { name: Buffer.from(name === '' ? '.' : name, 'latin1'), type, inode };
    }
  }

  extents(inode: number): ReturnType<FileSystem['extents']> {
    return [{ fileOffset: 0, mediaOffset: inode * 4096, length: 4096, unwritten: false }];
  }

  async *readStream(inode: number, offset: number, length: number): AsyncGenerator<Buffer> {
    yield this.#inode(inode).data.subarray(offset, offset + length);
  }

  async create(path: string): Promise<number> {
    return this.put(path, '');
  }

  async write(inode: number, offset: number, source: Uint8Array): Promise<void> {
    const file = this.#inode(inode);
    const data = Buffer.alloc(Math.max(file.data.length, offset + source.length));
    file.data.copy(data);
    data.set(source, offset);
    file.data = data;
  }

  async mkdir(path: string): Promise<number> {
    return this.put(path, '', 'directory');
  }

  async symlink(path: string, target: string): Promise<number> {
    return this.put(path, target, 'symlink');
  }

  async replace(
    path: string,
    source: AsyncIterable<Uint8Array>,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<{ created: boolean; inode: number }> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of source) chunks.push(chunk);
    await this.gate(signal);
    const created = !this.#names.has(path);
    return { created, inode: this.put(path, Buffer.concat(chunks)) };
  }

  async truncate(inode: number, size: number, change: { signal?: AbortSignal }): Promise<Changed> {
    return this.#change(['truncate', inode, size], change.signal);
  }

  async punchHole(...args: Parameters<FileSystem['punchHole']>): Promise<Changed> {
    return this.#change(['punchHole', ...args.slice(0, 3)], args[3]?.signal);
  }

  async zeroRange(...args: Parameters<FileSystem['zeroRange']>): Promise<Changed> {
    return this.#change(['zeroRange', ...args.slice(0, 3)], args[3]?.signal);
  }

  async fallocate(...args: Parameters<FileSystem['fallocate']>): Promise<Changed> {
    return this.#change(['fallocate', ...args.slice(0, 3)], args[3]?.signal);
  }

  async unlink(path: string): Promise<void> {
    this.lookup(path);
    this.#names.delete(path);
  }

  async rename(from: string, to: string): Promise<void> {
    const file = this.#inode(this.lookup(from));
    this.#names.delete(from);
    this.#names.set(to, file);
  }

  async #change(call: unknown[], signal: AbortSignal | undefined): Promise<Changed> {
    await this.gate(signal);
    this.calls.push(call);
    return { waitedMs: 1.5, freedBytes: 4096 };
  }

  #inode(inode: number): MemoryFile {
    for (const file of this.#names.values()) if (file.inode === inode) return file;
    throw new DaxdError('ENOENT', `there is no inode ${inode}`);
  }
}
