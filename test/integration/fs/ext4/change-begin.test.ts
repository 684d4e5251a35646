/**
 * What is to be noted before a file changes: a change tells once its wait is over, waits for the
 * note, and changes nothing before it or without it.
 */
import { EventEmitter, once } from 'node:events';

import t from 'tap';

import { collapseRange, insertRange } from '../../../../src/fs/ext4/file-shift.js';
import { punchHole, zeroRange } from '../../../../src/fs/ext4/file-space.js';
import { truncateFile } from '../../../../src/fs/ext4/file-truncate.js';
import { fileExtents } from '../../../../src/fs/ext4/file-read.js';
import { writeFile } from '../../../../src/fs/ext4/file-write.js';
import { readInode } from '../../../../src/fs/ext4/inode.js';
import type { Change } from '../../../../src/fs/ext4/layout-break.js';
import type { Volume } from '../../../../src/fs/ext4/volume.js';
import { requires } from '../../../support/requires.js';
import { settle } from '../../../support/settle.js';
import { closeClean, newImage, openImage } from './volume-set-up.js';

const P = 4096;
const RANGE = { offset: P, length: P };

type Run = (volume: Volume, inode: number, change: Change) => Promise<unknown>;
const CHANGES: readonly (readonly [string, Run])[] = [
  ['truncate', async (volume, inode, change) => truncateFile(volume, inode, 100, change)],
  ['growth', async (volume, inode, change) => truncateFile(volume, inode, 9 * P, change)],
  ['punch-hole', async (volume, inode, change) => punchHole(volume, inode, RANGE, change)],
  [
    'zero-range',
    async (volume, inode, change) => zeroRange(volume, inode, { ...RANGE, keepSize: true }, change),
  ],
  ['collapse-range', async (volume, inode, change) => collapseRange(volume, inode, RANGE, change)],
  ['insert-range', async (volume, inode, change) => insertRange(volume, inode, RANGE, change)],
];

t.test('onBegin: after the wait, and before anything of the file changes', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'e2fsck'] })) return;
  const open = await openImage(newImage(t));
  const { volume, fs, pin, unpin } = open;
  for (const [name, run] of CHANGES) {
    const inode = await fs.create(name);
    await writeFile(volume, inode, 0, Buffer.alloc(4 * P, 0x11));
    // Ends in the middle of its last page, whose rest a growth zeroes.
    await truncateFile(volume, inode, 4 * P - 10);
    const state = (): string => {
      const bytes = Buffer.alloc(4 * P);
      fs.read(inode, 0, bytes);
      const { size } = readInode(volume, volume, inode);
      const extents = fs.extents(inode);
      return JSON.stringify({ size, extents, sum: bytes.toString('hex') });
    };
    const before = state();
    const [last] = fileExtents(volume, readInode(volume, volume, inode), 3 * P, 4 * P);
    const [second] = fileExtents(volume, readInode(volume, volume, inode), P, 2 * P);
    const pinned = { truncate: last, growth: last }[name] ?? second;
    if (pinned === undefined) throw new Error('no such page');
    pin(pinned.mediaOffset, P);

    let begun = 0;
    const notes = new EventEmitter();
    const onBegin = async (): Promise<void> => {
      begun++;
      await once(notes, 'noted');
    };
    const refused = run(volume, inode, { onBegin });
    await settle(20);
    t.equal(begun, 0, `${name} waits`);
    unpin(pinned.mediaOffset, P);
    await settle(20);
    t.equal(begun, 1);
    t.equal(state(), before, 'it waits for the note');
    notes.emit('error', new Error('not noted'));
    await t.rejects(refused, { message: 'not noted' });
    t.equal(state(), before);
    t.equal(open.layouts.size, 0, 'the barrier is down');

    const running = run(volume, inode, { onBegin });
    await settle(20);
    t.equal(begun, 2);
    notes.emit('noted');
    await running;
    t.not(state(), before, name);
  }
  await closeClean(t, open);
});
