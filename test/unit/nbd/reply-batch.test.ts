import t from 'tap';

import { allocateArena, arenaPart } from '../../../src/media/arena.js';
import { Iovecs, iovecBytes } from '../../../src/nbd/iovecs.js';
import { NbdCmd, NbdError, type ReplyStyle } from '../../../src/nbd/protocol.js';
import { ReplyBatch } from '../../../src/nbd/reply-batch.js';
import { Request } from '../../../src/nbd/request.js';

const DATA = 0x7f00_0000_0000;

function setUp(
  style: ReplyStyle,
  startIsWhole = true,
): { batch: ReplyBatch; request: Request; wire: () => string[] } {
  const arena = allocateArena(8192);
  const iovecs = new Iovecs(arena, 4096, 16);
  t.ok(iovecBytes(16) <= 4096);
  const batch = new ReplyBatch(arenaPart(arena, 0, 4096), iovecs, style, startIsWhole);
  const request = new Request(style);
  const offset = { offsetHigh: 3, offsetLow: 4, offset: 3 * 2 ** 32 + 4 };
  Object.assign(request, { cookieHigh: 1, cookieLow: 2, ...offset, type: 0 });
  /** Headers in hex, data as its address and length. */
  const wire = (): string[] =>
    Array.from({ length: iovecs.count }, (_, i) => {
      const [address, length] = [iovecs.addressOf(i), iovecs.lengthOf(i)];
      const at = address - arena.address;
      if (batch.isData(i)) return `${address - DATA}+${length}`;
      return arena.bytes.toString('hex', at, at + length);
    });
  return { batch, request, wire };
}

const COOKIE = '0000000100000002';
const OFFSET = '0000000300000004';

function simple(error: string): string {
  return `67446698${error}${COOKIE}`;
}

t.test('simple replies: header, then data; no data behind an error', async (t) => {
  const { batch, request, wire } = setUp('simple');
  batch.data(request, DATA, 4096);
  batch.error(request, NbdError.EINVAL);
  batch.done(request);
  t.strictSame(wire(), [simple('00000000'), '0+4096', simple('00000016') + simple('00000000')]);
});

t.test(
  'structured replies: data of one page ends its reply, what is longer does not',
  async (t) => {
    const { batch, request, wire } = setUp('structured');
    batch.data(request, DATA, 4096);
    batch.data(request, DATA + 1, 4096);
    t.strictSame(wire(), [
      `668e33ef00010001${COOKIE}00001008${OFFSET}`,
      '0+4096',
      `668e33ef00000001${COOKIE}00001008${OFFSET}`,
      '1+4096',
      `668e33ef00010000${COOKIE}00000000`,
    ]);
  },
);

t.test('structured replies: data that a batch may be cut in does not end its reply', async (t) => {
  const { batch, request } = setUp('structured');
  const pieces: number[] = [];
  for (const length of [24_000, 4096, 4096, 4096]) {
    batch.data(request, DATA, length);
    // The last piece of data; an empty chunk may stand behind it.
    pieces.push(batch.isData(batch.iovecs.count - 1) ? 1 : 2);
  }
  t.strictSame(pieces, [2, 1, 1, 2], 'longer than a page, twice within 32 KiB, and behind them');
});

t.test('replies that may be cut anywhere: no data ends one, but for a simple one', async (t) => {
  const ends = { simple: '', structured: '668e33ef00010000', extended: '6e8a278c00010000' };
  for (const style of ['simple', 'structured', 'extended'] as const) {
    const { batch, request, wire } = setUp(style, false);
    batch.data(request, DATA, 512);
    const [head = '', data, end = ''] = wire();
    t.equal(data, '0+512');
    t.equal(batch.endsWithChunk(1), style !== 'simple', style);
    if (style !== 'simple') t.equal(head.slice(8, 16), '00000001', 'more of the reply follows');
    t.equal(end.slice(0, 16), ends[style]);
    batch.data(request, DATA, 32_000);
    t.equal(batch.isWholeAlone(DATA, 4096), false, 'nor would it if it were sent alone');
  }
});

t.test('isWholeAlone: what would be one chunk, and is two behind what is gathered', async (t) => {
  const { batch, request } = setUp('structured');
  t.equal(batch.isWholeAlone(DATA, 4096), false, 'nothing is gathered');
  batch.data(request, DATA, 16_000);
  t.equal(batch.isWholeAlone(DATA, 4096), false, 'there is room behind it');
  batch.data(request, DATA, 16_000);
  t.equal(batch.isWholeAlone(DATA, 4096), true);
  t.equal(batch.isWholeAlone(DATA + 1, 4096), false, 'it is two chunks however it is sent');
  const other = setUp('simple');
  other.batch.data(other.request, DATA, 32_000);
  t.equal(other.batch.isWholeAlone(DATA, 4096), false, 'a simple reply has no chunks');
});

t.test('structured replies: a read fails by a chunk, a write by a simple reply', async (t) => {
  const { batch, request, wire } = setUp('structured');
  batch.error(request, NbdError.EIO);
  batch.data(request, DATA, 0);
  request.type = NbdCmd.Write;
  batch.error(request, NbdError.ENOSPC);
  t.strictSame(wire(), [
    `668e33ef00018001${COOKIE}00000006000000050000` +
      `668e33ef00010000${COOKIE}00000000` +
      `674466980000001c${COOKIE}`,
  ]);
});

t.test('extended replies: 32 bytes each, with the offset of the request', async (t) => {
  const { batch, request, wire } = setUp('extended');
  batch.done(request);
  batch.data(request, DATA, 512);
  batch.status(request, { type: 6, payload: Buffer.from('0102', 'hex'), isLast: true });
  const chunk = (flagsAndType: string, length: string): string =>
    `6e8a278c${flagsAndType}${COOKIE}${OFFSET}00000000${length}`;
  t.strictSame(wire(), [
    `${chunk('00010000', '00000000')}${chunk('00010001', '00000208')}${OFFSET}`,
    '0+512',
    `${chunk('00010006', '00000002')}0102`,
  ]);
});

t.test('recall: what a reply to it must repeat, from its header', async (t) => {
  for (const style of ['simple', 'structured', 'extended'] as const) {
    const { batch, request } = setUp(style);
    batch.data(request, DATA, 512);
    const recalled = new Request('simple');
    batch.recall(batch.headOf(1), recalled);
    t.match(recalled, { type: NbdCmd.Read, cookieHigh: 1, cookieLow: 2 });
    if (style !== 'simple') t.match(recalled, { offsetHigh: 3, offsetLow: 4 });
  }
});

t.test('lacksRoom, clear: a full batch says so, and is empty again', async (t) => {
  const { batch, request, wire } = setUp('simple');
  let replies = 0;
  for (; !batch.lacksRoom(0); replies++) batch.data(request, DATA, 1);
  t.ok(replies >= 6 && replies <= 8, `${replies} replies in 16 pieces`);
  batch.clear();
  t.strictSame([batch.bytes, wire().length, batch.isData(1)], [0, 0, false]);
});
