import t from 'tap';

import { Device } from '../../../src/base/device.js';
import { InvariantError } from '../../../src/lib/assert.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { UsageRef } from '../../../src/lib/usage-ref.js';
import { DevPagemap } from '../../../src/mm/dev-pagemap.js';
import { pinUserPages, unpinUserPages } from '../../../src/mm/gup.js';
import { Memremap } from '../../../src/mm/memremap.js';
import { settle } from '../../support/settle.js';
import { Interrupt, mapPages } from './set-up.js';

t.test('devmMemremapPages: takes one use of the ref a data page', async (t) => {
  const { memremap, pgmap } = await mapPages({ pages: 600 });
  t.equal(pgmap.ref?.count, 600);
  t.equal(memremap.findPagemap(599), pgmap);
  t.equal(memremap.findPagemap(600), undefined);
});

t.test('devmMemremapPages: refuses a pagemap without a ref, and maps nothing', async (t) => {
  const memremap = new Memremap({ devPagemapOps: true });
  const device = new Device('pmem0');
  const pgmap = new DevPagemap({ range: { start: 0, length: PAGE_SIZE } });
  await t.rejects(memremap.devmMemremapPages(device, pgmap), { code: 'EINVAL' });
  t.equal(memremap.findPagemap(0), undefined);
  await device.devres.releaseAll();
  t.strictSame(device.devres.releaseLog, []);
});

t.test('devmMemremapPages: refuses pages of a 2 MiB block that is mapped already', async (t) => {
  const { memremap } = await mapPages({ pages: 600 });
  const device = new Device('pmem1');
  const near = new DevPagemap({
    range: { start: 3 * MIB, length: MIB },
    ref: new UsageRef(),
  });
  await t.rejects(memremap.devmMemremapPages(device, near), {
    code: 'ENOMEM',
    message: /bytes 3145728 to 4194304/,
  });
  t.equal(near.ref?.count, 0);

  const beside = new DevPagemap({
    range: { start: 4 * MIB, length: MIB },
    ref: new UsageRef(),
  });
  await memremap.devmMemremapPages(device, beside);
  t.equal(memremap.findPagemap(1024), beside);
});

t.test('devmMemremapPages: refuses a ref that is dying', async (t) => {
  const memremap = new Memremap({ devPagemapOps: true });
  const ref = new UsageRef();
  ref.kill();
  const pgmap = new DevPagemap({ range: { start: 0, length: PAGE_SIZE }, ref });
  await t.rejects(memremap.devmMemremapPages(new Device('pmem0'), pgmap), {
    code: 'ENXIO',
  });
});

t.test('devmMemremapPages: a release that cannot be kept runs at once', async (t) => {
  const memremap = new Memremap({ devPagemapOps: true });
  const device = new Device('pmem0');
  await device.devres.releaseAll();
  const pgmap = new DevPagemap({ range: { start: 0, length: PAGE_SIZE }, ref: new UsageRef() });
  await t.rejects(memremap.devmMemremapPages(device, pgmap), DaxdError);
  t.equal(memremap.findPagemap(0), undefined);
  t.equal(pgmap.ref?.count, 0);
});

t.test('getDevPagemap: takes a use that putDevPagemap gives back', async (t) => {
  const { memremap, pgmap, ref } = await mapPages({ pages: 8 });
  t.equal(memremap.getDevPagemap(7), pgmap);
  t.equal(ref.count, 9);
  memremap.putDevPagemap(pgmap);
  t.equal(ref.count, 8);
  t.equal(memremap.getDevPagemap(8), undefined, 'no such page');
  ref.kill();
  t.equal(memremap.getDevPagemap(7), undefined, 'the pagemap is dying');
  t.equal(ref.count, 8);
});

t.test('release: without pins it takes no time and empties the index', async (t) => {
  const { memremap, device, pgmap, freed } = await mapPages({ pages: 600 });
  await device.devres.releaseAll();
  t.strictSame(device.devres.releaseLog, ['pagemap', 'pagemap ops']);
  t.equal(memremap.findPagemap(0), undefined);
  t.equal(memremap.devmapManagedKey.users, 0);
  t.equal(pgmap.refs.pageRefCount(3), 0);
  t.strictSame(freed, [], 'teardown reports no idle page');
});

t.test('release: waits for the last pin, refuses new ones, and wakes nobody', async (t) => {
  const { memremap, device, pgmap, ref, freed } = await mapPages({ pages: 1024 });
  pinUserPages(memremap, 0, 512);
  pinUserPages(memremap, 5, 1);
  pinUserPages(memremap, 700, 1);
  pinUserPages(memremap, 700, 1);
  let released = false;
  const done = device.devres.releaseAll().then(() => (released = true));
  await settle();
  t.equal(ref.count, 513, 'each pinned page keeps its use');
  t.ok(pgmap.removal.aborted);
  t.throws(
    () => {
      pinUserPages(memremap, 1, 1);
    },
    { code: 'ENXIO' },
  );

  unpinUserPages(memremap, 700, 1);
  t.equal(pgmap.refs.pageRefCount(700), 1, 'one pin is left, though the count says idle');
  unpinUserPages(memremap, 700, 1);
  t.equal(ref.count, 512);
  unpinUserPages(memremap, 0, 512);
  t.equal(ref.count, 1, 'page 5 was pinned by itself too');
  await settle();
  t.notOk(released);
  t.equal(memremap.findPagemap(5), pgmap, 'the pages stand until the last put');
  unpinUserPages(memremap, 5, 1);
  await done;
  t.equal(memremap.findPagemap(5), undefined);
  t.strictSame(freed, []);
  t.equal(memremap.pageFreeTotal, 0);
});

t.test('devPagemapGetOps: two users of one key, off only when both are gone', async (t) => {
  const first = await mapPages({ pages: 8 });
  const second = await mapPages({ pages: 8, firstPfn: 512, memremap: first.memremap });
  const { memremap } = first;
  t.equal(memremap.devmapManagedKey.users, 2);
  await first.device.devres.releaseAll();
  t.ok(memremap.devmapManagedKey.enabled);
  pinUserPages(memremap, 513, 1);
  unpinUserPages(memremap, 513, 1);
  t.strictSame(second.freed, ['1+1']);
  await second.device.devres.releaseAll();
  t.notOk(memremap.devmapManagedKey.enabled);
  t.throws(() => {
    memremap.devPagemapPutOps();
  }, InvariantError);
});

t.test(
  'putDevmapManagedPage: with the key off a put takes the pin back and wakes nobody',
  async (t) => {
    const { memremap, pgmap, waiters, freed } = await mapPages({ pages: 600 });
    memremap.devPagemapPutOps();
    pinUserPages(memremap, 0, 513);
    const interrupt = new Interrupt();
    const waited = waiters.waitVarEvent(3, () => pgmap.isIdlePfn(3), interrupt);
    t.notOk(memremap.putDevmapManagedPage(pgmap, 512, 1), 'not managed: nothing is put');
    t.equal(pgmap.refs.pageRefCount(512), 2);
    unpinUserPages(memremap, 0, 513);
    t.equal(pgmap.refs.firstBusy(0, 600), undefined);
    await settle();
    t.equal(waiters.size, 1, 'the waiter sleeps on');
    t.strictSame(freed, []);
    t.equal(memremap.pageFreeTotal, 0);
    interrupt.abort();
    t.equal(await waited, undefined, 'it finds the page idle when it looks');
    memremap.devPagemapGetOps();
  },
);

t.test('release: with the key off the last put still lets the pagemap go', async (t) => {
  const memremap = new Memremap({ devPagemapOps: false });
  const { device, ref } = await mapPages({ pages: 600, memremap });
  pinUserPages(memremap, 0, 600);
  const done = device.devres.releaseAll();
  await settle();
  t.equal(ref.count, 600);
  unpinUserPages(memremap, 0, 600);
  await done;
  t.equal(memremap.findPagemap(0), undefined);
});

t.test('devPagemapOps: false leaves the key alone', async (t) => {
  const memremap = new Memremap({ devPagemapOps: false });
  memremap.devPagemapGetOps();
  t.notOk(memremap.devmapManagedKey.enabled);
  memremap.devPagemapPutOps();
  t.equal(memremap.devmapManagedKey.users, 0);
});

t.test('putDevmapManagedPage: a pagemap without a type is not managed', async (t) => {
  const { memremap, pgmap, freed } = await mapPages({ pages: 8 });
  pgmap.type = undefined;
  pinUserPages(memremap, 1, 1);
  t.notOk(memremap.putDevmapManagedPage(pgmap, 1, 1));
  unpinUserPages(memremap, 1, 1);
  t.ok(pgmap.isIdlePfn(1));
  t.strictSame(freed, []);
});

t.test('freeAddressRange: stays clear of what is mapped, by whole 2 MiB blocks', async (t) => {
  const memremap = new Memremap({ devPagemapOps: true });
  const top = memremap.freeAddressRange(PAGE_SIZE);
  t.equal(top % (2 * MIB), 0);
  const topPages = new DevPagemap({
    range: { start: top, length: PAGE_SIZE },
    ref: new UsageRef(),
  });
  await memremap.devmMemremapPages(new Device('a'), topPages);
  const next = memremap.freeAddressRange(3 * MIB);
  t.equal(next, top - 4 * MIB);
  const nextPages = new DevPagemap({
    range: { start: next, length: 3 * MIB },
    ref: new UsageRef(),
  });
  await memremap.devmMemremapPages(new Device('b'), nextPages);
  t.equal(memremap.freeAddressRange(PAGE_SIZE), next - 2 * MIB);
});
