import { closeSync, copyFileSync, ftruncateSync, openSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { joinExtents } from '../../../../src/fs/ext4/extent.js';
import type { Ext4 } from '../../../../src/fs/ext4/ext4.js';
import { BLOCK_SIZE as B, FILE_SIZE_MAX } from '../../../../src/fs/ext4/layout.js';
import { DaxdError } from '../../../../src/lib/errno.js';
import {
  dropPages,
  fallocate,
  FallocateMode,
  seek,
} from '../../../support/differential/kernel-calls.js';
import { KernelMount } from '../../../support/differential/kernel-mount.js';
import { fsck } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { newImage, openImage } from './volume-set-up.js';

const SIZE = 10 * B + 100;

/** One operation on a file: how daxd does it, and how the kernel is asked for it. */
interface Operation {
  readonly name: string;
  readonly run: (fs: Ext4, number: number) => Promise<unknown>;
  readonly call: (fd: number) => void;
}

type Method = 'fallocate' | 'zeroRange' | 'punchHole' | 'collapseRange' | 'insertRange';

const MODES: Readonly<Record<Method, number>> = {
  fallocate: 0,
  zeroRange: FallocateMode.ZeroRange,
  punchHole: FallocateMode.PunchHole | FallocateMode.KeepSize,
  collapseRange: FallocateMode.CollapseRange,
  insertRange: FallocateMode.InsertRange,
};

function change(method: Method, offset: number, length: number, keepSize = false): Operation {
  const mode = MODES[method] | (keepSize ? FallocateMode.KeepSize : 0);
  return {
    name: `${method} ${offset} + ${length}${keepSize ? ', keep size' : ''}`,
    run: (fs, number) => fs[method](number, offset, length, { keepSize }),
    call: (fd) => {
      fallocate(fd, mode, offset, length);
    },
  };
}

function truncate(size: number): Operation {
  return {
    name: `truncate ${size}`,
    run: (fs, number) => fs.truncate(number, size),
    call: (fd) => {
      ftruncateSync(fd, size);
    },
  };
}

/** Places that lie in data, holes and unwritten blocks, at their edges, and past the end. */
const RANGES: readonly (readonly [number, number])[] = [
  [0, B],
  [B, 2 * B],
  [100, 50],
  [B - 10, 20],
  [3 * B, 2 * B],
  [2 * B + 7, 4 * B],
  [5 * B, 3 * B],
  [6 * B + 1, B - 2],
  [9 * B, 2 * B],
  [10 * B, B],
  [10 * B, 3 * B],
  [10 * B + 50, 2 * B],
  [SIZE, B],
  [11 * B, B],
  [12 * B, 2 * B],
  [13 * B + 9, 7 * B],
  [30 * B, 2 * B],
  [0, 40 * B],
];

const SHIFTS: readonly (readonly [number, number])[] = [
  [0, B],
  [B, 2 * B],
  [2 * B, 4 * B],
  [9 * B, B],
  [9 * B, 2 * B],
  [10 * B, B],
  [11 * B, B],
  [12 * B, B],
  [B, 100],
  [100, B],
  [0, 0],
  [B, 20 * B],
  [0, FILE_SIZE_MAX - (FILE_SIZE_MAX % B)],
];

const operations: readonly Operation[] = [
  ...RANGES.flatMap(([offset, length]) => [
    change('fallocate', offset, length),
    change('fallocate', offset, length, true),
    change('zeroRange', offset, length),
    change('zeroRange', offset, length, true),
    change('punchHole', offset, length),
  ]),
  ...SHIFTS.flatMap(([offset, length]) => [
    change('collapseRange', offset, length),
    change('insertRange', offset, length),
  ]),
  ...[0, 1, B, 3 * B + 5, 6 * B, 10 * B, SIZE, SIZE + 1, 13 * B, 50 * B].map(truncate),
];

const SEEKS = [0, 1, B, 3 * B, 3 * B + 1, 5 * B, 7 * B, 8 * B, 10 * B, SIZE - 1, SIZE, 12 * B];

/** Data, a hole, unwritten blocks, data, and unwritten blocks past the end. */
async function makeFile(fs: Ext4, name: string): Promise<number> {
  const number = await fs.create(name);
  await fs.fallocate(number, 0, SIZE, { keepSize: false });
  await fs.fallocate(number, 12 * B, 4 * B, { keepSize: true });
  await fs.write(number, 0, Buffer.alloc(3 * B, 0x11));
  await fs.write(number, 8 * B, Buffer.alloc(SIZE - 8 * B, 0x22));
  await fs.punchHole(number, 3 * B, 2 * B);
  return number;
}

function codeOf(error: unknown): string {
  if (error instanceof DaxdError) return error.code;
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

/** What each file holds, and where it has blocks; not which, nor those of the tree. */
async function describe(image: string): Promise<string[]> {
  const { fs, close } = await openImage(image, { readOnly: true });
  try {
    return operations.map((_, i) => {
      const number = fs.lookup(`f${i}`);
      const { size } = fs.stat(number);
      const extents = joinExtents(
        fs.extents(number).map(({ fileOffset, length, unwritten }) => {
          return {
            logical: fileOffset / B,
            physical: fileOffset / B,
            length: length / B,
            unwritten,
          };
        }),
      ).map(({ logical, length, unwritten }) => `${logical}+${length}${unwritten ? 'u' : ''}`);
      const target = Buffer.alloc(size);
      fs.read(number, 0, target);
      const content = target.toString('latin1').replaceAll(/(.)\1*/gs, run);
      return `${size} bytes ${extents.join(' ')} ${content}`;
    });
  } finally {
    await close();
  }
}

function run(text: string, byte: string): string {
  return `${byte.charCodeAt(0).toString(16)}*${text.length} `;
}

t.test('space operations: as the kernel does them, keep-size and errors included', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck', 'debugfs', 'mount'], root: true })) return;
  const image = newImage(t);
  const copy = join(image, '..', 'copy');
  const made = await openImage(image);
  for (let i = 0; i < operations.length; i++) await makeFile(made.fs, `f${i}`);
  await made.close();
  copyFileSync(image, copy);

  const open = await openImage(image);
  const own: string[] = [];
  const ownSeeks: string[] = [];
  for (const [i, operation] of operations.entries()) {
    const { fs } = open;
    const number = fs.lookup(`f${i}`);
    for (const offset of i === 0 ? SEEKS : []) {
      for (const find of ['seekData', 'seekHole'] as const) {
        ownSeeks.push(`${find} ${offset}: ${answer(() => fs[find](number, offset))}`);
      }
    }
    own.push(await operation.run(fs, number).then(() => 'done', codeOf));
  }
  await open.close();
  t.equal(fsck(image).status, 0);

  const theirs: string[] = [];
  const theirSeeks: string[] = [];
  const mount = KernelMount.mount(copy, 'rw');
  try {
    for (const [i, operation] of operations.entries()) {
      const fd = openSync(join(mount.directory, `f${i}`), 'r+');
      dropPages(fd);
      for (const offset of i === 0 ? SEEKS : []) {
        theirSeeks.push(`seekData ${offset}: ${answer(() => seek(fd, offset, 'data'))}`);
        theirSeeks.push(`seekHole ${offset}: ${answer(() => seek(fd, offset, 'hole'))}`);
      }
      theirs.push(
        answer(() => {
          operation.call(fd);
          return 'done';
        }),
      );
      closeSync(fd);
    }
  } finally {
    mount.unmount();
  }
  t.strictSame(ownSeeks, theirSeeks, 'seek');
  const [ownFiles, theirFiles] = [await describe(image), await describe(copy)];
  for (const [i, { name }] of operations.entries()) {
    t.equal(own[i], theirs[i], `${name}: ${theirs[i]}`);
    t.equal(ownFiles[i], theirFiles[i], name);
  }
});

function answer(ask: () => number | string): string {
  try {
    return String(ask());
  } catch (error) {
    return codeOf(error);
  }
}
