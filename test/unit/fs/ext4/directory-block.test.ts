import t from 'tap';

import {
  checkDirectoryBlock,
  clearDirectoryBlock,
  ENTRIES_END,
  entryBytes,
  EntryType,
  findEntry,
  findRoom,
  initDirectoryBlock,
  insertEntry,
  isDotName,
  readEntries,
  removeEntry,
  retargetEntry,
  sealDirectoryBlock,
} from '../../../../src/fs/ext4/directory-block.js';
import { InvariantError } from '../../../../src/lib/assert.js';

const SEED = 0x12345678;
const DIRECTORY = 12;
const FIRST = { directory: DIRECTORY, logical: 0, firstInode: 11, inodesCount: 1000 };
const SECOND = { ...FIRST, logical: 1 };

function entry(name: string | Buffer, inode = 20) {
  return { inode, entryType: EntryType.Regular, name: Buffer.from(name) };
}

/** Puts an entry where there is room for it. */
function put(block: Buffer, added: ReturnType<typeof entry>): void {
  insertEntry(block, findRoom(block, added.name.length), added);
}

/** A second block with these names, sealed. */
function leafWith(...names: (string | Buffer)[]): Buffer {
  const block = Buffer.alloc(4096);
  clearDirectoryBlock(block);
  for (const name of names) put(block, entry(name));
  sealDirectoryBlock(block, SEED);
  return block;
}

function namesOf(block: Buffer): string[] {
  return readEntries(block, ENTRIES_END).map(({ name }) => name.toString('latin1'));
}

t.test('initDirectoryBlock: a checked block with "." and ".."', async (t) => {
  const block = Buffer.alloc(4096, 0xa5);
  initDirectoryBlock(block, DIRECTORY, 2);
  sealDirectoryBlock(block, SEED);
  checkDirectoryBlock(block, SEED, FIRST);
  t.strictSame(
    readEntries(block, ENTRIES_END).map(({ inode, name }) => [inode, name.toString()]),
    [
      [DIRECTORY, '.'],
      [2, '..'],
    ],
  );
});

t.test('insertEntry: names of 1 and 255 bytes and bytes from 0x80 on come back', async (t) => {
  const long = Buffer.alloc(255, 0xff);
  const block = leafWith('a', long, Buffer.from([0x80, 0xfe]));
  checkDirectoryBlock(block, SEED, SECOND);
  t.strictSame(namesOf(block), ['a', long.toString('latin1'), '\x80\xfe']);
  t.throws(() => put(block, entry(Buffer.alloc(256, 0x61))), InvariantError);
});

t.test('insertEntry: fills a block to its last byte and not further', async (t) => {
  const block = leafWith();
  let count = 0;
  for (; findRoom(block, 4) >= 0; count++) put(block, entry(String(count).padStart(4, '0')));
  t.equal(count, Math.floor(ENTRIES_END / entryBytes(4)));
  sealDirectoryBlock(block, SEED);
  checkDirectoryBlock(block, SEED, SECOND);
  t.equal(namesOf(block).length, count);
  t.throws(() => put(block, entry('5000')), InvariantError, 'nothing fits any more');
  t.throws(() => insertEntry(block, 0, entry('5000')), InvariantError, 'nor behind another');
});

t.test('removeEntry: first, middle and last of a block; the room is used again', async (t) => {
  for (const gone of ['one', 'two', 'three']) {
    const block = leafWith('one', 'two', 'three');
    const position = findEntry(block, ENTRIES_END, Buffer.from(gone));
    t.ok(position, `${gone} is found`);
    if (position === undefined) continue;
    removeEntry(block, position);
    sealDirectoryBlock(block, SEED);
    checkDirectoryBlock(block, SEED, SECOND);
    t.notOk(namesOf(block).includes(gone), `${gone} is not listed`);
    t.equal(findEntry(block, ENTRIES_END, Buffer.from(gone)), undefined);
    t.notOk(block.includes(gone), 'the name does not stay in the block');

    put(block, entry('four'));
    sealDirectoryBlock(block, SEED);
    checkDirectoryBlock(block, SEED, SECOND);
    t.ok(namesOf(block).includes('four'));
    t.equal(namesOf(block).length, 3);
  }
});

t.test('retargetEntry: the name stays, the inode and type change', async (t) => {
  const block = leafWith('one');
  retargetEntry(block, 0, { inode: 99, entryType: EntryType.Symlink });
  t.match(readEntries(block, ENTRIES_END), [{ inode: 99, entryType: EntryType.Symlink }]);
  t.strictSame(namesOf(block), ['one']);
});

t.test('findEntry: does not take a prefix for the name', async (t) => {
  const block = leafWith('name');
  t.equal(findEntry(block, ENTRIES_END, Buffer.from('nam')), undefined);
  t.equal(findEntry(block, ENTRIES_END, Buffer.from('names')), undefined);
  t.strictSame(findEntry(block, ENTRIES_END, Buffer.from('name')), {
    offset: 0,
    previous: undefined,
  });
});

t.test('isDotName: "." and ".." only', async (t) => {
  t.ok(isDotName(Buffer.from('.')));
  t.ok(isDotName(Buffer.from('..')));
  for (const name of ['...', 'a', '.a', '']) t.notOk(isDotName(Buffer.from(name)), name);
});

t.test('checkDirectoryBlock: one changed byte anywhere is EBADMSG or EUCLEAN', async (t) => {
  const good = leafWith('one', 'two');
  for (let offset = 0; offset < 4096; offset += 13) {
    const block = Buffer.from(good);
    block[offset] = (block[offset] ?? 0) ^ 0x10;
    t.throws(() => checkDirectoryBlock(block, SEED, SECOND), { name: 'DaxdError' });
  }
  t.throws(() => checkDirectoryBlock(good, SEED + 1, SECOND), {
    code: 'EBADMSG',
    message: /^checksum mismatch: directory inode 12, block 1 /,
  });
});

t.test('checkDirectoryBlock: broken structure under a valid checksum is EUCLEAN', async (t) => {
  const broken: Record<string, (block: Buffer) => void> = {
    'rec_len 0': (block) => block.writeUInt16LE(0, 4),
    'rec_len 8': (block) => block.writeUInt16LE(8, 4),
    'rec_len not a multiple of 4': (block) => block.writeUInt16LE(14, 4),
    'rec_len past the end': (block) => block.writeUInt16LE(4088, 4),
    'rec_len up to the end of the page': (block) => block.writeUInt16LE(4096, 4),
    'name past its record': (block) => block.writeUInt8(200, 6),
    'empty name': (block) => block.writeUInt8(0, 6),
    'slash in a name': (block) => block.write('o/e', 8),
    'NUL in a name': (block) => block.write('o\0e', 8),
    'a second "."': (block) => {
      block.writeUInt8(1, 6);
      block.write('.', 8);
    },
    'inode past the end': (block) => block.writeUInt32LE(1001, 0),
    'a reserved inode': (block) => block.writeUInt32LE(8, 0),
    'the root': (block) => block.writeUInt32LE(2, 0),
    'the directory itself': (block) => block.writeUInt32LE(DIRECTORY, 0),
  };
  for (const [title, damage] of Object.entries(broken)) {
    const block = leafWith('one', 'two');
    damage(block);
    sealDirectoryBlock(block, SEED);
    t.throws(
      () => checkDirectoryBlock(block, SEED, SECOND),
      { code: 'EUCLEAN', message: /^directory inode 12, block 1/ },
      title,
    );
  }
  const noTail = leafWith('one');
  noTail.writeUInt8(0, 4091);
  t.throws(() => checkDirectoryBlock(noTail, SEED, SECOND), { code: 'EUCLEAN', name: 'DaxdError' });
});

t.test('checkDirectoryBlock: the first block begins with "." and ".."', async (t) => {
  const broken: Record<string, (block: Buffer) => void> = {
    'no "."': (block) => block.write('x', 8),
    '"." of another': (block) => block.writeUInt32LE(13, 0),
    'no ".."': (block) => block.write('.x', 20),
    '".." is itself': (block) => block.writeUInt32LE(DIRECTORY, 12),
    '".." is reserved': (block) => block.writeUInt32LE(7, 12),
    '".." is deleted': (block) => block.writeUInt32LE(0, 12),
  };
  for (const [title, damage] of Object.entries(broken)) {
    const block = Buffer.alloc(4096);
    initDirectoryBlock(block, DIRECTORY, 2);
    damage(block);
    sealDirectoryBlock(block, SEED);
    t.throws(
      () => checkDirectoryBlock(block, SEED, FIRST),
      { code: 'EUCLEAN', message: /"\.\.?"/ },
      title,
    );
  }
  t.throws(() => checkDirectoryBlock(leafWith(), SEED, FIRST), {
    code: 'EUCLEAN',
    name: 'DaxdError',
  });
});
