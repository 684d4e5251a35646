import { PAGE_SIZE } from '../../../src/lib/units.js';
import type { Ext4 } from '../../../src/fs/ext4/ext4.js';
import type { OpenFile } from '../../../src/fs/ext4/open-file.js';
import { SeededRandom } from '../seeded-random.js';
import type { Batch, Operation } from './workload.js';

const KIB = 1024;

/** Bytes that differ from block to block. */
function bytes(seed: number, length: number): Buffer {
  return new SeededRandom(seed).bytes(length);
}

/** A stream of one piece. */
export async function* pieceOf(content: Buffer): AsyncGenerator<Buffer> {
  yield content;
}

function step(
  name: string,
  touches: readonly string[],
  run: (fs: Ext4) => Promise<unknown>,
): Operation[] {
  return [{ name, touches, run }];
}

/** A change that stores over bytes of the file: a cut may leave old lines among new ones. */
function tornStep(path: string, name: string, run: (fs: Ext4) => Promise<unknown>): Operation[] {
  const torn = name.startsWith('write') ? 'before the commit' : 'around the commit';
  return [{ name: `${name} ${path}`, touches: [path], torn, run }];
}

function replace(path: string, seed: number, length: number): Operation {
  return {
    name: `replace ${path}`,
    touches: [path],
    run: (fs) => fs.replace(path, pieceOf(bytes(seed, length))),
  };
}

/** One of every operation, some over and over; see ext4.md 3.9. */
export function scriptedWorkload(): Batch[] {
  return [
    step('create a', ['a'], (fs) => fs.create('a')),
    step('mkdir d', ['d'], (fs) => fs.mkdir('d')),
    [replace('d/f', 1, 10_000)],
    tornStep('d/f', 'write in place', (fs) => fs.write(fs.lookup('d/f'), 100, bytes(2, 5000))),
    step('append to d/f', ['d/f'], (fs) => fs.write(fs.lookup('d/f'), 10_000, bytes(3, 9000))),
    step('fallocate a', ['a'], (fs) =>
      fs.fallocate(fs.lookup('a'), 0, 64 * KIB, { keepSize: false }),
    ),
    step('write unwritten a', ['a'], (fs) => fs.write(fs.lookup('a'), 5000, bytes(4, 3000))),
    ...linkSteps(),
    ...attributeSteps(),
    [replace('b', 5, 7000)],
    step('rename b over a', ['a', 'b'], (fs) => fs.rename('b', 'a')),
    step('shrink d/f', ['d/f'], (fs) => fs.truncate(fs.lookup('d/f'), 1234)),
    step('grow d/f', ['d/f'], (fs) => fs.truncate(fs.lookup('d/f'), 50_000)),
    [replace('big', 6, 300_000)],
    tornStep('big', 'punch', (fs) => fs.punchHole(fs.lookup('big'), 8202, 90_000)),
    tornStep('big', 'zero', (fs) =>
      fs.zeroRange(fs.lookup('big'), 150_001, 50_000, { keepSize: true }),
    ),
    ...shiftSteps(),
    ...openFile(),
    step('unlink s', ['s'], (fs) => fs.unlink('s')),
    concurrent(),
    'remount',
    step('mkdir e', ['e'], (fs) => fs.mkdir('e')),
    step('rename d to e/d', ['d', 'e'], (fs) => fs.rename('d', 'e/d')),
    step('truncate big to nothing', ['big'], (fs) => fs.truncate(fs.lookup('big'), 0)),
    step('unlink big', ['big'], (fs) => fs.unlink('big')),
    ['f', 'q', 'fifo'].flatMap((name) =>
      step(`unlink e/d/${name}`, [`e/d/${name}`], (fs) => fs.unlink(`e/d/${name}`)),
    ),
    step('remove e/d', ['e/d'], (fs) => fs.unlink('e/d')),
    ...manyNames(),
  ];
}

function linkSteps(): Operation[][] {
  const target = 't'.repeat(100);
  return [
    step('slow symlink s', ['s'], (fs) => fs.symlink('s', target)),
    step('fast symlink d/q', ['d/q'], (fs) => fs.symlink('d/q', 'f')),
    step('link d/f to hard', ['hard'], (fs) => fs.link('d/f', 'hard')),
    step('unlink d/f and keep hard', ['d/f'], (fs) => fs.unlink('d/f')),
    step('rename hard to d/f', ['d/f', 'hard'], (fs) => fs.rename('hard', 'd/f')),
    step('mknod d/fifo', ['d/fifo'], (fs) => fs.mknod('d/fifo', { type: 'fifo', mode: 0o600 })),
  ];
}

function attributeSteps(): Operation[][] {
  return [
    step('xattr in the inode of d/f', ['d/f'], setXattr('user.small', bytes(7, 20))),
    step('xattr in a block of d/f', ['d/f'], setXattr('user.large', bytes(8, 2000))),
    step('xattr of d/f changed', ['d/f'], setXattr('user.large', bytes(9, 1500))),
    step('xattr of d/f removed', ['d/f'], (fs) => fs.removeXattr(fs.lookup('d/f'), 'user.large')),
    step('chmod a', ['a'], (fs) => fs.setAttributes(fs.lookup('a'), { mode: 0o600 })),
  ];
}

function shiftSteps(): Operation[][] {
  const length = 4 * PAGE_SIZE;
  return [
    step('collapse big', ['big'], (fs) => fs.collapseRange(fs.lookup('big'), PAGE_SIZE, length)),
    step('insert into big', ['big'], (fs) => fs.insertRange(fs.lookup('big'), PAGE_SIZE, length)),
  ];
}

function setXattr(name: string, value: Buffer): Operation['run'] {
  return (fs) => fs.setXattr(fs.lookup('d/f'), name, value);
}

/** A file that lives on without a name until it is closed, ext4.md 2.12. */
function openFile(): Operation[][] {
  let file: OpenFile | undefined;
  return [
    [replace('open', 10, 20_000)],
    step('unlink open while it is open', ['open'], async (fs) => {
      file = fs.open(fs.lookup('open'));
      await fs.unlink('open');
    }),
    step('mkdir meanwhile', ['meanwhile'], (fs) => fs.mkdir('meanwhile')),
    step('close it', [], async () => file?.close()),
  ];
}

/** Changes that arrive together and share a commit. */
function concurrent(): Operation[] {
  return [
    replace('c1', 11, 5000),
    replace('c2', 12, 100),
    ...step('create c3', ['c3'], (fs) => fs.create('c3')),
    ...step('mkdir c4', ['c4'], (fs) => fs.mkdir('c4')),
    ...step('truncate d/f', ['d/f'], (fs) => fs.truncate(fs.lookup('d/f'), 4096)),
    ...tornStep('big', 'write in place', (fs) => fs.write(fs.lookup('big'), 0, bytes(13, 9000))),
  ];
}

/** A directory that becomes an index, and shrinks again. */
function manyNames(): Operation[][] {
  const paths = Array.from({ length: 90 }, (_, i) => `many/${i} ${'n'.repeat(60)}`);
  return [
    step('mkdir many', ['many'], (fs) => fs.mkdir('many')),
    paths.flatMap((path) => step(`create ${path}`, [path], (fs) => fs.create(path))),
    paths.slice(10).flatMap((path) => step(`unlink ${path}`, [path], (fs) => fs.unlink(path))),
  ];
}
