import { getEventListeners } from 'node:events';

import t from 'tap';

import { LayoutChange } from '../../../src/dax/layout-change.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { StillClock } from '../mm/set-up.js';
import { truncateOf } from './set-up.js';

t.test('LayoutChange: bytes from back to front break an invariant', async (t) => {
  const request = truncateOf(0, 1, { from: 10, to: 9 });
  t.throws(() => new LayoutChange('id', request, new StillClock()), InvariantError);
});

t.test('overlaps: half open, and nothing overlaps no bytes', async (t) => {
  const change = new LayoutChange('id', truncateOf(0, 1, { from: 10, to: 20 }), new StillClock());
  t.ok(change.overlaps(19, 30));
  t.notOk(change.overlaps(20, 30));
  t.notOk(change.overlaps(0, 10));
  const empty = new LayoutChange('id', truncateOf(0, 1, { from: 10, to: 10 }), new StillClock());
  t.notOk(empty.overlaps(10, 20));
});

t.test('turn: comes when the last earlier change ended', async (t) => {
  const change = new LayoutChange('id', truncateOf(0, 1), new StillClock());
  t.notOk(change.queued, 'nobody before it');
  change.addEarlier();
  change.addEarlier();
  const turn = change.turn();
  change.earlierEnded();
  t.ok(change.queued);
  t.throws(() => {
    change.breaking();
  }, InvariantError);
  change.earlierEnded();
  await turn;
  change.breaking();
  t.equal(change.state, 'breaking');
  t.throws(() => {
    change.earlierEnded();
  }, InvariantError);
});

t.test('abort: the first error counts, and nothing changes once it is broken', async (t) => {
  const change = new LayoutChange('id', truncateOf(0, 1), new StillClock());
  change.addEarlier();
  const turn = change.turn();
  const error = new DaxdError('draining', 'shutting down');
  change.abort(error);
  change.cancel();
  t.equal(await turn.catch((reason: unknown) => reason), error);
  t.equal(change.signal.reason, error);
});

t.test('follow: gives up on an abort that came before or comes after, and unfollows', async (t) => {
  const error = new DaxdError('ENXIO', 'gone');
  const early = new LayoutChange('id', truncateOf(0, 1), new StillClock());
  early.follow(AbortSignal.abort(), () => error);
  t.equal(early.signal.reason, error);

  const controller = new AbortController();
  const late = new LayoutChange('id', truncateOf(0, 1), new StillClock());
  late.follow(controller.signal, () => error);
  t.notOk(late.signal.aborted);
  late.ended();
  t.equal(getEventListeners(controller.signal, 'abort').length, 0);
  controller.abort();
  t.notOk(late.signal.aborted);
  t.throws(() => {
    late.ended();
  }, InvariantError);
});
