import type { Ext4 } from '../../../src/fs/ext4/ext4.js';

/** What a name stands for, as far as a power cut must not change it. */
export interface TreeEntry {
  readonly inode: number;
  readonly type: string;
  readonly mode: number;
  readonly nlink: number;
  readonly size: number;
  /** Of a file, its bytes; of a symlink, its target. */
  readonly content: Buffer;
  /** Extended attributes, `name=hex`. */
  readonly xattrs: string;
}

/** Every path from the root on, the root itself being `''`. */
export type Tree = ReadonlyMap<string, TreeEntry>;

/** Reads the whole tree by daxd's own reader. */
export function readTree(fs: Ext4): Tree {
  const tree = new Map<string, TreeEntry>();
  const visit = (inode: number, path: string): void => {
    const entry = readEntry(fs, inode);
    tree.set(path, entry);
    if (entry.type !== 'directory') return;
    for (const { name, inode: child } of fs.readdir(inode)) {
      visit(child, path === '' ? name.toString('latin1') : `${path}/${name.toString('latin1')}`);
    }
  };
  visit(fs.lookup(''), '');
  return tree;
}

function readEntry(fs: Ext4, inode: number): TreeEntry {
  const { type, mode, nlink, size, target } = fs.stat(inode);
  const content = type === 'file' ? readContent(fs, inode, size) : Buffer.from(target ?? '');
  const xattrs = fs
    .listXattrs(inode)
    .toSorted()
    .map((name) => `${name}=${fs.getXattr(inode, name).toString('hex')}`)
    .join(' ');
  return {
    inode,
    type,
    mode,
    nlink,
    // A directory that grew for a name keeps the block; what is in it is compared by name.
    size: type === 'directory' ? 0 : size,
    content,
    xattrs,
  };
}

function readContent(fs: Ext4, inode: number, size: number): Buffer {
  const content = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    const count = fs.read(inode, at, content.subarray(at));
    if (count === 0) throw new Error(`inode ${inode} ends at ${at}, its size is ${size}`);
    at += count;
  }
  return content;
}

/** Link counts that are not what the names of the same tree add up to. */
export function wrongLinkCounts(tree: Tree): string[] {
  const names = new Map<number, number>();
  const subdirectories = new Map<string, number>();
  for (const [path, { inode, type }] of tree) {
    names.set(inode, (names.get(inode) ?? 0) + 1);
    if (type !== 'directory' || path === '') continue;
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    subdirectories.set(parent, (subdirectories.get(parent) ?? 0) + 1);
  }
  return [...tree].flatMap(([path, { inode, type, nlink }]) => {
    const links =
      type === 'directory' ? 2 + (subdirectories.get(path) ?? 0) : (names.get(inode) ?? 0);
    return links === nlink ? [] : [`${path} has ${nlink} links, its names are ${links}`];
  });
}

/** Whether two names stand for the same; link counts are looked at by {@link wrongLinkCounts}. */
export function isSameEntry(a: TreeEntry | undefined, b: TreeEntry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.type === b.type &&
    a.mode === b.mode &&
    a.size === b.size &&
    a.xattrs === b.xattrs &&
    a.content.equals(b.content)
  );
}

/** A description of an entry for messages. */
export function describeEntry(entry: TreeEntry | undefined): string {
  if (entry === undefined) return 'nothing';
  const { type, mode, size, content, xattrs } = entry;
  const head = content.subarray(0, 8).toString('hex');
  return `${type} ${mode.toString(8)} ${size} ${head} ${xattrs}`.trim();
}

/** Whether all names of two trees stand for the same. */
export function isSameTree(a: Tree, b: Tree): boolean {
  return a.size === b.size && [...a].every(([path, entry]) => isSameEntry(entry, b.get(path)));
}
