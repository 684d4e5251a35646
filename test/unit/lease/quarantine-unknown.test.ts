/** Quarantined blocks that no lease speaks for, and those that are taken for such by mistake. */
import t from 'tap';

import { PAGE_SIZE } from '../../../src/lib/units.js';
import { refusal } from '../../support/refusal.js';
import { settle } from '../../support/settle.js';
import { Gate } from '../base/gate.js';
import { runs, verify } from './restarts.js';
import { FS_START, ask } from './set-up.js';

const P = PAGE_SIZE;

t.test('verify: what nobody speaks for stays, and goes on a word', async (t) => {
  const { start } = runs();
  const set = await start();
  const { mediaOffset } = set.fs.moveAway('file', 1);
  await verify(set);
  const offset = FS_START + mediaOffset;
  t.match(set.leases.quarantine.unknown, [{ partition: 'pmem0p1', offset, length: P }]);
  await t.rejects(set.leases.quarantine.attest('pmem0p1', offset + P), refusal('ENOENT'));
  t.equal(await set.leases.quarantine.attest('pmem0p1', offset), P);
  t.strictSame(set.fs.kept, []);
  t.strictSame(set.leases.quarantine.unknown, []);
});

t.test('free: blocks that are being freed are nobody’s for no moment', async (t) => {
  const { disk, start } = runs();
  const set = await start();
  const { quarantine } = set.leases;
  const lease = await set.leases.acquire(ask({ length: 2 * P }));
  set.fs.moveAway('file', 1);
  await verify(set);
  const gate = new Gate();
  set.fs.freeGate = gate.passed;
  const released = set.leases.release(lease.id);
  await settle();
  t.equal(set.pinnedPages(), 0, 'it has ended');
  await verify(set);
  t.strictSame(quarantine.unknown, []);
  gate.open();
  await released;
  t.strictSame(set.fs.kept, [], 'freed');
  t.strictSame(quarantine.unknown, []);
  t.notOk(disk.records.has(lease.id));
});
