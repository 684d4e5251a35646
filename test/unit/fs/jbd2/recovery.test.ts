import t from 'tap';

import type { Journal } from '../../../../src/fs/jbd2/journal.js';
import {
  encodeEmptyJournal,
  JournalSuperblock,
} from '../../../../src/fs/jbd2/journal-superblock.js';
import { HEADER_BYTES, JsbField, REVOKES_MAX, TagField } from '../../../../src/fs/jbd2/layout.js';
import { LogArea } from '../../../../src/fs/jbd2/log-area.js';
import {
  decodeDescriptor,
  encodeCommit,
  encodeRevoke,
} from '../../../../src/fs/jbd2/log-records.js';
import { planReplay } from '../../../../src/fs/jbd2/recovery.js';
import { CRC_INIT, crc32c } from '../../../../src/lib/crc32c.js';
import { filled, MEDIA_BLOCKS, newLog } from './set-up.js';
import type { TestLog } from './set-up.js';

const NONE: ReadonlySet<number> = new Set();

/** A log with three transactions of one block each: descriptor, copy, commit. */
async function threeTransactions(): Promise<{ log: TestLog; journal: Journal }> {
  const log = newLog();
  const journal = log.open();
  await journal.start();
  for (const block of [3, 4, 5]) {
    await journal.commit({ blocks: new Map([[block, filled(block)]]), revoked: NONE });
  }
  return { log, journal };
}

function flip(log: TestLog, index: number, byte: number): void {
  const block = log.area.read(index);
  block.writeUInt8(block.readUInt8(byte) ^ 0x10, byte);
  log.area.write(index, block);
}

t.test('planReplay: stops where the last transaction was not committed', async (t) => {
  for (const [name, index, byte] of [
    ['its descriptor is torn', 7, 40],
    ['its commit is torn', 9, 100],
    ['its commit is not there', 9, 0],
    ['its descriptor is not there', 7, 0],
  ] as const) {
    const { log } = await threeTransactions();
    if (index === 7) log.area.write(9, Buffer.alloc(4096));
    flip(log, index, byte);
    t.strictSame(log.replayed(), [[3, 3], [4, 4]], name); // prettier-ignore
  }
});

t.test('planReplay: an unfinished transaction may have anything torn', async (t) => {
  const { log } = await threeTransactions();
  log.area.write(9, Buffer.alloc(8));
  flip(log, 8, 0);
  t.strictSame(log.replayed(), [[3, 3], [4, 4]]); // prettier-ignore
});

t.test('planReplay: a committed transaction that is damaged is EBADMSG', async (t) => {
  for (const [name, index] of [
    ['descriptor of the first', 1],
    ['copy of the first', 2],
    ['commit of the first', 3],
    ['copy of the last', 8],
    ['descriptor of the last', 7],
  ] as const) {
    const { log } = await threeTransactions();
    flip(log, index, 100);
    t.throws(() => log.plan(), { code: 'EBADMSG', message: /journal transaction/ }, name);
  }
});

t.test('planReplay: a log that names itself, or no block, is EUCLEAN', async (t) => {
  for (const block of [100, 45, MEDIA_BLOCKS, 2 ** 40]) {
    const log = newLog();
    const journal = log.open();
    await journal.start();
    await journal.commit({ blocks: new Map([[block, filled(1)]]), revoked: NONE });
    t.throws(() => log.plan(), { code: 'EUCLEAN', message: new RegExp(`block ${block}`) });
  }
});

t.test('planReplay: a transaction that lies across the end of the log', async (t) => {
  const { log, journal } = await threeTransactions();
  const big = new Map([9, 10, 11, 12].map((block) => [block, filled(block)]));
  // From block 10 on six at a time: then the start moves to block 28.
  for (let i = 0; i < 3; i++) await journal.commit({ blocks: big, revoked: NONE });
  await journal.commit({ blocks: new Map([[3, filled(99)]]), revoked: NONE });
  await journal.commit({ blocks: big, revoked: NONE });
  t.equal(log.open().superblock.start, 28);
  t.equal(log.plan().homes.get(9)?.index, 1, 'its descriptor is the last block of the log');
  const all = [[3, 99], ...[...big.keys()].map((block) => [block, block])];
  t.strictSame(log.replayed(), all);
});

t.test('planReplay: transactions of an older round of the log do not count', async (t) => {
  const { log, journal } = await threeTransactions();
  for (let i = 0; i < 8; i++) {
    await journal.commit({ blocks: new Map([[9, filled(i)]]), revoked: NONE });
  }
  t.strictSame(log.replayed(), [[9, 7]]);
});

t.test(
  'decodeDescriptor: the high half of a block counts in a log with 64 bits alone',
  async (t) => {
    const { log } = await threeTransactions();
    const descriptor = log.area.read(1);
    descriptor.writeUInt32BE(7, HEADER_BYTES + TagField.BlockHi);
    const homes = (is64: boolean): number[] =>
      decodeDescriptor(descriptor, is64).map(({ home }) => home);
    t.strictSame(homes(true), [7 * 2 ** 32 + 3]);
    t.strictSame(homes(false), [3]);
  },
);

/** A log of one transaction that is all revocations, with blocks in memory once. */
class RevokedLog extends LogArea {
  readonly #jsb: Buffer;
  readonly #revoke = Buffer.alloc(4096);
  readonly #last = Buffer.alloc(4096);

  constructor(blocks: number, { isCommitted }: { readonly isCommitted: boolean }) {
    super(newLog().range, [{ start: 0, count: blocks }]);
    const jsb = encodeEmptyJournal(Buffer.alloc(16, 7), blocks);
    jsb.writeUInt32BE(1, JsbField.Start);
    jsb.writeUInt32BE(0, JsbField.Checksum);
    jsb.writeUInt32BE(crc32c(CRC_INIT, jsb), JsbField.Checksum);
    const seed = crc32c(CRC_INIT, Buffer.alloc(16, 7));
    const numbers = Array.from({ length: REVOKES_MAX }, (_, i) => i);
    encodeRevoke(this.#revoke, seed, 1, numbers);
    if (isCommitted) encodeCommit(this.#last, seed, 1, 0);
    this.#jsb = jsb;
  }

  override read(index: number): Buffer {
    if (index === 0) return Buffer.from(this.#jsb);
    return index < this.blocks - 1 ? this.#revoke : this.#last;
  }
}

t.test('planReplay: a log full of revocations takes no memory for each number', async (t) => {
  // More numbers than an array holds.
  for (const isCommitted of [false, true]) {
    const area = new RevokedLog(250_000, { isCommitted });
    const plan = planReplay(area, JournalSuperblock.load(area), () => true);
    t.equal(plan.transactions, isCommitted ? 1 : 0);
    t.equal(plan.homes.size, 0);
  }
});
