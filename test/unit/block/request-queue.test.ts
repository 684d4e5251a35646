import { setImmediate } from 'node:timers/promises';

import t from 'tap';

import { RequestQueue } from '../../../src/block/request-queue.js';

t.test('freezeStart: refuses new uses and waits for none', async (t) => {
  const queue = new RequestQueue();
  t.ok(queue.usageCounter.tryGet());
  queue.freezeStart();
  t.notOk(queue.usageCounter.tryGet());
  t.equal(queue.usageCounter.count, 1);
});

t.test('cleanup: settles with the last use, and not before', async (t) => {
  const queue = new RequestQueue();
  queue.usageCounter.tryGet(2);
  let clean = false;
  const cleaning = (async (): Promise<void> => {
    await queue.cleanup();
    clean = true;
  })();
  queue.usageCounter.put();
  await setImmediate();
  t.notOk(clean);
  queue.usageCounter.put();
  await cleaning;
});

t.test('setLimits: undefined until the driver sets them', async (t) => {
  const queue = new RequestQueue();
  t.equal(queue.limits, undefined);
  const limits = {
    logicalBlockSize: 512,
    physicalBlockSize: 4096,
    rotational: false,
    writeCache: true,
    dax: true,
  } as const;
  queue.setLimits(limits);
  t.strictSame(queue.limits, limits);
});
