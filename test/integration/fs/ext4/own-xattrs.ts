import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';

/** All attributes as daxd has them, in the shape of `kernelXattrs`. */
export function ownXattrs(fs: Ext4, path: string): [string, string][] {
  const inode = fs.lookup(path, { follow: false });
  return fs
    .listXattrs(inode)
    .toSorted()
    .map((name) => [name, fs.getXattr(inode, name).toString('base64')]);
}
