import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { allocateArena } from '../../../src/media/arena.js';
import { Iovecs, iovecBytes } from '../../../src/nbd/iovecs.js';

/** A place in the address space that takes both words of an address. */
const HIGH = 0x7f12_3456_7000;

function setUp(capacity = 4): { iovecs: Iovecs; array: BigUint64Array; message: BigUint64Array } {
  const arena = allocateArena(iovecBytes(capacity));
  const iovecs = new Iovecs(arena, 0, capacity);
  const { buffer, byteOffset } = arena.bytes;
  const arrayAt = byteOffset + iovecs.arrayAddress - iovecs.messageAddress;
  return {
    iovecs,
    array: new BigUint64Array(buffer, arrayAt, capacity * 2),
    message: new BigUint64Array(buffer, byteOffset, 7),
  };
}

t.test('push, arm: struct iovec and struct msghdr as the kernel reads them', async (t) => {
  const { iovecs, array, message } = setUp();
  iovecs.push(HIGH, 28);
  iovecs.push(HIGH + 4096, 4096);
  t.strictSame([...array.subarray(0, 4)], [BigInt(HIGH), 28n, BigInt(HIGH + 4096), 4096n]);
  t.equal(iovecs.bytes, 4124);
  t.equal(iovecs.arm(), iovecs.messageAddress);
  t.equal(message[2], BigInt(iovecs.arrayAddress), 'msg_iov');
  t.equal(message[3], 2n, 'msg_iovlen');
});

t.test('piece: one struct iovec of the array, wherever advance stands', async (t) => {
  const { iovecs } = setUp();
  iovecs.push(HIGH, 10);
  iovecs.push(HIGH + 100, 20);
  iovecs.advance(10);
  t.strictSame(iovecs.piece(0), { arrayAddress: iovecs.arrayAddress, count: 1 });
  t.strictSame(iovecs.piece(1), { arrayAddress: iovecs.arrayAddress + 16, count: 1 });
});

t.test('advance: leaves pieces behind, whole and in part', async (t) => {
  const { iovecs, array, message } = setUp();
  iovecs.push(HIGH, 10);
  iovecs.push(HIGH + 100, 20);
  iovecs.push(HIGH + 200, 30);
  iovecs.advance(15);
  t.equal(iovecs.bytes, 45);
  t.strictSame([...array.subarray(2, 4)], [BigInt(HIGH + 105), 15n]);
  iovecs.arm();
  t.strictSame([message[2], message[3]], [BigInt(iovecs.arrayAddress + 16), 2n]);
  iovecs.advance(5);
  t.strictSame(
    [1, 2].map((i) => iovecs.lengthOf(i)),
    [10, 30],
  );
  t.strictSame(
    [1, 2].map((i) => iovecs.wholeLengthOf(i)),
    [20, 30],
    'as they were pushed',
  );
  iovecs.advance(10);
  t.equal(iovecs.done, 2);
  t.equal(iovecs.wholeLengthOf(2), 30);
  iovecs.advance(30);
  t.equal(iovecs.bytes, 0);
  t.throws(() => {
    iovecs.advance(1);
  }, InvariantError);
});

t.test('push: one too many breaks an invariant', async (t) => {
  const { iovecs } = setUp(1);
  iovecs.push(HIGH, 1);
  t.equal(iovecs.left, 0);
  t.throws(() => {
    iovecs.push(HIGH, 1);
  }, InvariantError);
  iovecs.clear();
  t.strictSame([iovecs.left, iovecs.bytes, iovecs.count], [1, 0, 0]);
});
