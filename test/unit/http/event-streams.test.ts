import { once } from 'node:events';
import { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import { EventStreams } from '../../../src/http/event-streams.js';
import type { StreamRequest } from '../../../src/http/event-streams.js';
import { EventRing } from '../../../src/lib/event-ring.js';
import { HandClock } from '../lease/set-up.js';

/** A connection whose other end reads when the test says so. */
class Pipe extends Writable {
  text = '';
  #reads: boolean;
  #waiting: (() => void) | undefined;

  constructor({ reads = true } = {}) {
    super({ highWaterMark: 100, decodeStrings: false });
    this.#reads = reads;
  }

  override _write(text: string, _encoding: unknown, done: () => void): void {
    this.text += text;
    if (this.#reads) done();
    else this.#waiting = done;
  }

  read(): void {
    this.#reads = true;
    this.#waiting?.();
  }
}

function setUp(capacity = 10) {
  const ring = new EventRing('i', capacity);
  const clock = new HandClock();
  const streams = new EventStreams(ring, clock);
  const open = (out: Pipe, request: Partial<StreamRequest> = {}) => {
    streams.open(out, { cursor: undefined, isWanted: () => true, ...request });
    return out;
  };
  return { ring, clock, streams, open };
}

t.test('open: what happens from now on, each turn in one piece', async (t) => {
  const { ring, streams, open } = setUp();
  ring.push('before', {});
  const out = open(new Pipe());
  t.equal(streams.clients, 1);
  t.equal(out.text, 'id: i-1\n\n', 'the place, for one who comes back');
  ring.push('lease.granted', { lease: 'a' });
  ring.push('lease.released', { lease: 'a' });
  t.equal(out.text, 'id: i-1\n\n', 'a push waits for nobody');
  await setImmediate();
  t.equal(
    out.text,
    'id: i-1\n\n' +
      'id: i-2\nevent: lease.granted\ndata: {"lease":"a"}\n\n' +
      'id: i-3\nevent: lease.released\ndata: {"lease":"a"}\n\n',
  );
  out.destroy();
  await once(out, 'close');
  t.equal(streams.clients, 0);
});

t.test('open: a cursor goes on there; an old or foreign one gets one resync', async (t) => {
  const { ring, streams, open } = setUp(2);
  for (const n of [1, 2, 3]) ring.push('e', { n });
  const going = open(new Pipe(), { cursor: 'i-1' });
  t.match(going.text, /^id: i-1\n\nid: i-2\nevent: e\n.*\n\nid: i-3\nevent: e\n.*\n\n$/);
  t.equal(streams.cursor, 'i-3');
  for (const cursor of ['i-0', 'j-3', 'i-4', 'nonsense']) {
    t.equal(open(new Pipe(), { cursor }).text, 'id: i-3\nevent: resync\ndata: {}\n\n', cursor);
  }
  const lost = open(new Pipe(), { cursor: 'j-3' });
  ring.push('e', { n: 4 });
  await setImmediate();
  t.equal(
    lost.text,
    'id: i-3\nevent: resync\ndata: {}\n\nid: i-4\nevent: e\ndata: {"n":4}\n\n',
    'and goes on',
  );
  t.equal(streams.dropped, 0);
});

t.test('open: an event becomes text once, however many watch', async (t) => {
  const { ring, open } = setUp();
  const outs = [open(new Pipe()), open(new Pipe()), open(new Pipe())];
  let texts = 0;
  ring.push('e', { lease: { toJSON: () => `a${++texts}` } });
  await setImmediate();
  const late = open(new Pipe(), { cursor: 'i-0' });
  for (const { text } of [...outs, late]) {
    t.equal(text, 'id: i-0\n\nid: i-1\nevent: e\ndata: {"lease":"a1"}\n\n');
  }
});

t.test('open: a filter keeps events away, not the place', async (t) => {
  const { ring, clock, open } = setUp();
  const out = open(new Pipe(), { isWanted: ({ fields }) => fields['lease'] === 'a' });
  ring.push('e', { lease: 'b' });
  ring.push('e', { lease: 'a' });
  ring.push('e', { lease: 'b' });
  await setImmediate();
  t.equal(out.text, 'id: i-0\n\nid: i-2\nevent: e\ndata: {"lease":"a"}\n\n');
  clock.advance(15_000);
  t.match(out.text, /\n\n: alive\nid: i-3\n\n$/);
  clock.advance(15_000);
  t.equal(out.text.split(': alive').length, 3, 'each 15 seconds');
});

t.test(
  'slow: what is not read waits in the ring, and one who is overtaken is cut off',
  async (t) => {
    const { ring, clock, streams, open } = setUp(10);
    const slow = open(new Pipe({ reads: false }));
    const stuck = open(new Pipe({ reads: false }));
    for (let n = 1; n <= 10; n++) {
      ring.push('e', { n, text: 'x'.repeat(100) });
      await setImmediate();
    }
    t.ok(slow.writableLength < 300, `${slow.writableLength} bytes wait in the process`);
    slow.read();
    await setImmediate();
    t.match(slow.text, /"n":10,.*\n\n$/, 'all of it');
    t.equal(slow.text.match(/^event: e$/gm)?.length, 10, 'once each');
    t.equal(streams.dropped, 0);

    for (let n = 11; n <= 14; n++) {
      ring.push('e', { n });
      await setImmediate();
    }
    t.equal(streams.clients, 1, 'the stuck one is off');
    t.equal(stuck.writableEnded, true);
    t.ok(streams.dropped >= 10 && streams.dropped <= 14, `${streams.dropped} events were missed`);
    t.equal(stuck.destroyed, false, 'it may read what it was sent');
    clock.advance(5_000);
    t.equal(stuck.destroyed, true);
    t.match(slow.text, /"n":14}\n\n$/, 'the other goes on');
  },
);

t.test('end: what is left goes out first', async (t) => {
  const { ring, clock, streams, open } = setUp();
  const out = open(new Pipe());
  ring.push('e', { n: 1 });
  streams.end();
  t.match(out.text, /data: {"n":1}\n\n$/);
  await once(out, 'finish');
  t.equal(streams.clients, 0);
  await setImmediate();
  t.equal(clock.timers, 0, 'no timer is left');
});
