import type { FileSystem } from '../../../src/http/control.js';
import { DaxdError } from '../../../src/lib/errno.js';

type Stat = ReturnType<FileSystem['stat']>;
type Changed = Awaited<ReturnType<FileSystem['truncate']>>;

interface MemoryFile {
  readonly inode: number;
  readonly type: Stat['type'];
  data: Buffer;
  attributes: Partial<Stat>;
  readonly xattrs: Map<string, Buffer>;
}

/** A flat filesystem in memory that records what it was asked to change. */
export class MemoryFiles implements FileSystem {
  readonly calls: unknown[][] = [];
  /** Whether the last lookup was to follow a symlink. */
  followed = true;
  /** What the next change waits for. */
  gate: (signal: AbortSignal | undefined) => Promise<void> = async () => {};
  readonly #names = new Map<string, MemoryFile>();
  #nextInode = 12;

  constructor() {
    this.#add('', { inode: 2, type: 'directory', data: Buffer.alloc(4096) });
  }

  put(name: string, data: string | Buffer, type: Stat['type'] = 'file'): number {
    const inode = this.#nextInode++;
    this.#add(name, { inode, type, data: Buffer.from(data) });
    return inode;
  }

  bytes(name: string): string | undefined {
    return this.#names.get(name)?.data.toString();
  }

  lookup(path: string, { follow = true }: { readonly follow?: boolean } = {}): number {
    this.followed = follow;
    const file = this.#names.get(path);
    if (file === undefined) throw new DaxdError('ENOENT', `there is no ${path}`);
    return file.inode;
  }

  stat(inode: number): Stat {
    const { type, data, attributes } = this.#inode(inode);
    return {
      inode,
      generation: 1,
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
      ...(type === 'char' && { device: { major: 1, minor: 3 } }),
      ...attributes,
    };
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

  async append(inode: number, source: Uint8Array): Promise<number> {
    const { length } = this.#inode(inode).data;
    await this.write(inode, length, source);
    return length;
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
    { signal, exclusive = false }: Parameters<FileSystem['replace']>[2] = {},
  ): Promise<{ created: boolean; inode: number }> {
    if (exclusive && this.#names.has(path)) throw new DaxdError('EEXIST', `${path} is there`);
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
    return this.#change(['fallocate', ...args.slice(0, 3)], undefined);
  }

  async collapseRange(...args: Parameters<FileSystem['collapseRange']>): Promise<Changed> {
    return this.#change(['collapseRange', ...args.slice(0, 3)], args[3]?.signal);
  }

  async insertRange(...args: Parameters<FileSystem['insertRange']>): Promise<Changed> {
    return this.#change(['insertRange', ...args.slice(0, 3)], args[3]?.signal);
  }

  seekData(inode: number, offset: number): number {
    if (offset < this.#inode(inode).data.length) return offset;
    throw new DaxdError('ENXIO', `inode ${inode} has no data from ${offset} on`);
  }

  seekHole(inode: number, offset: number): number {
    return Math.max(this.seekData(inode, offset), this.#inode(inode).data.length);
  }

  statfs(): ReturnType<FileSystem['statfs']> {
    const inodes = { totalInodes: 64, freeInodes: 50 };
    const quarantine = { quarantinedBytes: 4096, quarantineLimitBytes: 8192 };
    return { totalBytes: 81920, freeBytes: 40960, availableBytes: 20480, ...inodes, ...quarantine };
  }

  async setAttributes(...[inode, change]: Parameters<FileSystem['setAttributes']>): Promise<void> {
    this.calls.push(['setAttributes', inode, change]);
    const given = Object.entries(change).filter(([, value]) => value !== undefined);
    const file = this.#inode(inode);
    file.attributes = { ...file.attributes, ...Object.fromEntries(given) };
  }

  listXattrs(inode: number): string[] {
    return [...this.#inode(inode).xattrs.keys()];
  }

  getXattr(inode: number, name: string): Buffer {
    const value = this.#inode(inode).xattrs.get(name);
    if (value === undefined) throw new DaxdError('ENODATA', `there is no ${name}`);
    return value;
  }

  async setXattr(...args: Parameters<FileSystem['setXattr']>): Promise<void> {
    const [inode, name, value, { only } = {}] = args;
    const { xattrs } = this.#inode(inode);
    if (only === 'replace') this.getXattr(inode, name);
    if (only === 'create' && xattrs.has(name)) throw new DaxdError('EEXIST', `${name} is there`);
    xattrs.set(name, Buffer.from(value));
  }

  async removeXattr(inode: number, name: string): Promise<void> {
    this.getXattr(inode, name);
    this.#inode(inode).xattrs.delete(name);
  }

  async link(from: string, to: string): Promise<void> {
    this.#names.set(to, this.#inode(this.lookup(from)));
  }

  async mknod(path: string, node: Parameters<FileSystem['mknod']>[1]): Promise<number> {
    this.calls.push(['mknod', path, node]);
    return this.put(path, '', node.type);
  }

  async unlink(path: string): Promise<void> {
    this.lookup(path);
    this.#names.delete(path);
  }

  async rename(
    from: string,
    to: string,
    { noReplace = false }: Parameters<FileSystem['rename']>[2] = {},
  ): Promise<void> {
    if (noReplace && this.#names.has(to)) throw new DaxdError('EEXIST', `${to} is there`);
    const file = this.#inode(this.lookup(from));
    this.#names.delete(from);
    this.#names.set(to, file);
  }

  async #change(call: unknown[], signal: AbortSignal | undefined): Promise<Changed> {
    await this.gate(signal);
    this.calls.push(call);
    return { waitedMs: 1.5, freedBytes: 4096, quarantinedBytes: 0 };
  }

  #add(name: string, file: Pick<MemoryFile, 'inode' | 'type' | 'data'>): void {
    this.#names.set(name, { ...file, attributes: {}, xattrs: new Map() });
  }

  #inode(inode: number): MemoryFile {
    for (const file of this.#names.values()) if (file.inode === inode) return file;
    throw new DaxdError('ENOENT', `there is no inode ${inode}`);
  }
}
