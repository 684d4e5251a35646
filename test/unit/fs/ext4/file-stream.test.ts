import t from 'tap';

import { FileStream } from '../../../../src/fs/ext4/file-stream.js';
import { OpenFile } from '../../../../src/fs/ext4/open-file.js';

/** A stream of three pieces, the last one a failure where `fails` says so. */
function setUp({ fails = false } = {}): { stream: FileStream; closes: () => number } {
  let closes = 0;
  const file = new OpenFile(12, async () => {
    closes++;
  });
  async function* pieces(): AsyncGenerator<Buffer, void, undefined> {
    yield Buffer.from('a');
    yield Buffer.from('b');
    if (fails) throw new RangeError('gone');
    yield Buffer.from('c');
  }
  return { stream: new FileStream(file, pieces()), closes: () => closes };
}

t.test('FileStream: read to the end it closes the file, once', async (t) => {
  const { stream, closes } = setUp();
  const read: string[] = [];
  for await (const piece of stream) read.push(piece.toString());
  t.strictSame(read, ['a', 'b', 'c']);
  t.equal(closes(), 1);
  t.match(await stream.next(), { done: true });
  t.equal(closes(), 1);
});

t.test('FileStream: a reader who leaves, or never began, closes the file', async (t) => {
  const left = setUp();
  for await (const piece of left.stream) {
    t.equal(piece.toString(), 'a');
    break;
  }
  t.equal(left.closes(), 1);
  const unread = setUp();
  t.match(await unread.stream.return(), { done: true });
  t.equal(unread.closes(), 1);
});

t.test('FileStream: a failure closes the file and is passed on', async (t) => {
  const { stream, closes } = setUp({ fails: true });
  await t.rejects(async () => {
    for await (const piece of stream) t.ok(piece);
  }, RangeError);
  t.equal(closes(), 1);
});
