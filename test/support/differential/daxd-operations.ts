import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import { bytesOf, crowdPaths, READ_BACK_BYTES, scatteredBytes } from './operation.js';
import type { Answer, OperationKind, OperationOf } from './operation.js';

/** Each operation by the methods of {@link Ext4}. */
export const DAXD_OPERATIONS: {
  readonly [K in OperationKind]: (fs: Ext4, operation: OperationOf<K>) => Promise<Answer>;
} = {
  async create(fs, { path }) {
    await fs.create(path);
  },
  async mkdir(fs, { path }) {
    await fs.mkdir(path);
  },
  async remove(fs, { path }) {
    await fs.unlink(path);
  },
  async rename(fs, { path, to, noReplace }) {
    await fs.rename(path, to, { noReplace });
  },
  async link(fs, { path, to }) {
    await fs.link(path, to);
  },
  async symlink(fs, { path, target }) {
    await fs.symlink(path, target);
  },
  async mknod(fs, { path, type, mode, major, minor }) {
    const isDevice = type === 'char' || type === 'block';
    await fs.mknod(path, { type, mode, ...(isDevice ? { major, minor } : {}) });
  },
  async crowd(fs, operation) {
    for (const name of crowdPaths(operation)) await fs.link(operation.path, name);
  },
  async thin(fs, operation) {
    for (const name of crowdPaths(operation)) await fs.unlink(name);
  },
  async attributes(fs, { path, follow, set }) {
    await fs.setAttributes(fs.lookup(path, { follow }), set);
  },
  async setXattr(fs, { path, follow, name, fill, length, only }) {
    await fs.setXattr(fs.lookup(path, { follow }), name, bytesOf(fill, length), { only });
  },
  async getXattr(fs, { path, follow, name }) {
    return fs.getXattr(fs.lookup(path, { follow }), name).toString('hex');
  },
  async removeXattr(fs, { path, follow, name }) {
    await fs.removeXattr(fs.lookup(path, { follow }), name);
  },
  async read(fs, { path, offset, length }) {
    const target = Buffer.alloc(length);
    return target.subarray(0, fs.read(fs.lookup(path), offset, target)).toString('hex');
  },
  async seek(fs, { path, offset, whence }) {
    const number = fs.lookup(path);
    return whence === 'data' ? fs.seekData(number, offset) : fs.seekHole(number, offset);
  },
  async replace(fs, { path, exclusive, fill, length }) {
    await fs.replace(path, pieces(bytesOf(fill, length)), { exclusive });
  },
  async write(fs, { path, offset, fill, length }) {
    await fs.write(fs.lookup(path), offset, bytesOf(fill, length));
  },
  append: async (fs, { path, fill, length }) =>
    await fs.append(fs.lookup(path), bytesOf(fill, length)),
  async scatter(fs, operation) {
    const number = fs.lookup(operation.path);
    for (const [offset, bytes] of scatteredBytes(operation)) await fs.write(number, offset, bytes);
  },
  async unlinkOpen(fs, { path, offset, fill, length }) {
    const number = fs.lookup(path);
    const file = fs.open(number);
    try {
      await fs.unlink(path);
      await fs.write(number, offset, bytesOf(fill, length));
      const { size, nlink } = fs.stat(number);
      const target = Buffer.alloc(READ_BACK_BYTES);
      const count = fs.read(number, Math.max(0, size - target.length), target);
      return `${size} ${nlink} ${target.subarray(0, count).toString('hex')}`;
    } finally {
      await file.close();
    }
  },
  async lend(fs, { path, offset, length }) {
    await fs.prepareDma(fs.lookup(path), offset, length, 'write');
  },
  async truncate(fs, { path, size }) {
    await fs.truncate(fs.lookup(path), size);
  },
  async fallocate(fs, { path, offset, length, keepSize }) {
    await fs.fallocate(fs.lookup(path), offset, length, { keepSize });
  },
  async zero(fs, { path, offset, length, keepSize }) {
    await fs.zeroRange(fs.lookup(path), offset, length, { keepSize });
  },
  async punch(fs, { path, offset, length }) {
    await fs.punchHole(fs.lookup(path), offset, length);
  },
  async collapse(fs, { path, offset, length }) {
    await fs.collapseRange(fs.lookup(path), offset, length);
  },
  async insert(fs, { path, offset, length }) {
    await fs.insertRange(fs.lookup(path), offset, length);
  },
};

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  const cut = Math.floor(bytes.length / 3);
  yield bytes.subarray(0, cut);
  yield bytes.subarray(cut);
}
