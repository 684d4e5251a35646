import t from 'tap';

import { deviceOf, fillNode, modeOfNode } from '../../../../src/fs/ext4/device-node.js';
import type { SpecialNode } from '../../../../src/fs/ext4/device-node.js';
import type { Inode } from '../../../../src/fs/ext4/inode.js';
import { InodeFlag } from '../../../../src/fs/ext4/layout.js';

/** The two words of i_block that a node gets. */
function wordsOf(node: SpecialNode): { words: number[]; flags: number; device: object } {
  const inode = { flags: InodeFlag.Extents | InodeFlag.Immutable, iBlock: Buffer.alloc(60, 0xff) };
  fillNode(inode as unknown as Inode, node);
  const words = [inode.iBlock.readUInt32LE(0), inode.iBlock.readUInt32LE(4)];
  return { words, flags: inode.flags, device: deviceOf(inode as unknown as Inode) };
}

t.test('fillNode: 16 bits where they hold the number, else 32 behind them', async (t) => {
  for (const [major, minor, words] of [
    [1, 3, [0x0103, 0]],
    [255, 255, [0xffff, 0]],
    [256, 0, [0, 0x10000]],
    [8, 256, [0, 0x00100800]],
    [4095, 1048575, [0, 0xffffffff]],
    [0, 0, [0, 0]],
  ] as const) {
    const filled = wordsOf({ type: 'block', mode: 0o600, major, minor });
    t.strictSame(filled.words, words, `${major}:${minor}`);
    t.strictSame(filled.device, { major, minor });
    t.equal(filled.flags, InodeFlag.Immutable, 'it has no extents');
  }
  t.strictSame(wordsOf({ type: 'fifo', mode: 0 }).words, [0, 0]);
});

t.test('modeOfNode: type and permissions; EINVAL for what is no device number', async (t) => {
  t.equal(modeOfNode({ type: 'char', mode: 0o4755, major: 1, minor: 3 }), 0o24755);
  t.equal(modeOfNode({ type: 'socket', mode: 0 }), 0o140000);
  const bad: readonly SpecialNode[] = [
    { type: 'char', mode: 0o600 },
    { type: 'char', mode: 0o600, major: 1 },
    { type: 'block', mode: 0o600, major: 4096, minor: 0 },
    { type: 'block', mode: 0o600, major: 0, minor: 2 ** 20 },
    { type: 'block', mode: 0o600, major: -1, minor: 0.5 },
    { type: 'fifo', mode: 0o600, major: 1, minor: 3 },
    { type: 'fifo', mode: 0o100600 },
  ];
  for (const node of bad) {
    const refused = { name: 'DaxdError', code: 'EINVAL', message: /^((?!undefined).)*$/ };
    t.throws(() => modeOfNode(node), refused, JSON.stringify(node));
  }
});
