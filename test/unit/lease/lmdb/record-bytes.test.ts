import * as fc from 'fast-check';
import t from 'tap';

import type { LeaseRecord } from '../../../../src/lease/lease-record.js';
import { RecordReader, recordBytes } from '../../../../src/lease/lmdb/record-bytes.js';
import { summedBytes } from '../../../../src/lease/lmdb/summed-bytes.js';
import { testSeed, times } from '../../../support/random-test.js';

const seed = testSeed(t);

const object = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record<T>(model, { noNullPrototype: true });
const bytes = fc.maxSafeNat();
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const terms = object({
  id: fc.string({ unit: 'binary' }),
  fencingToken: bytes,
  partition: fc.string(),
  media: object({
    partition: fc.string(),
    filesystem: fc.string(),
    writtenSeconds: fc.nat(),
  }),
  path: maybe(fc.string({ unit: 'binary' })),
  inode: maybe(fc.nat()),
  generation: maybe(fc.nat()),
  offset: fc.nat({ max: 2 ** 50 }),
  length: fc.nat({ max: 2 ** 50 }),
  access: fc.constantFrom('read' as const, 'write' as const),
  ttlMs: fc.nat(),
  client: maybe(fc.string({ unit: 'binary' })),
  secretHash: maybe(fc.string({ minLength: 1 })),
  secretSalt: maybe(fc.string({ minLength: 1 })),
  holder: maybe(
    fc.oneof(
      object({ pid: fc.nat(), startTicks: fc.nat(), view: fc.string() }),
      object({ cgroup: fc.string({ unit: 'binary' }), inode: bytes, rootInode: bytes }),
    ),
  ),
  grantedMs: fc.double({ noNaN: true, min: 1e-9 }),
});
const pieces = object({
  ranges: fc.array(object({ offset: bytes, length: bytes }), { maxLength: 3 }),
  runs: fc.array(object({ offset: bytes, deviceOffset: bytes, length: bytes }), {
    maxLength: 3,
  }),
});
const record: fc.Arbitrary<LeaseRecord> = object({
  terms,
  holding: fc.oneof(pieces, bytes),
  quarantined: maybe(
    object({
      reason: fc.string(),
      cause: fc.constantFrom('deferred', 'foreign', 'revoked'),
      isRevoked: fc.boolean(),
    }),
  ),
  ended: maybe(fc.boolean()),
});

t.test('a record is read as it was written', async (t) => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 4 }), (records) => {
      const reader = new RecordReader();
      for (const one of records) {
        t.strictSame(reader.read(one.terms.id, recordBytes(one)), one);
      }
    }),
    { seed, numRuns: times(100) },
  );
});

t.test('leases that have the same in common share it', async (t) => {
  const reader = new RecordReader();
  const [sample] = fc.sample(record, { seed, numRuns: 1 });
  t.ok(sample);
  if (sample === undefined) return;
  const [a, b] = ['a', 'b'].map((id) => reader.read(id, recordBytes(sample)));
  t.equal(a?.terms.media, b?.terms.media);
  t.strictSame([a?.terms.id, b?.terms.id], ['a', 'b']);
});

t.test('bytes of which one has changed are told', async (t) => {
  const whole = Buffer.from('what a lease says');
  const summed = summedBytes.encode(whole);
  t.strictSame(summedBytes.decode(summed), whole);
  t.strictSame(summedBytes.decode(new Uint8Array(summed)), whole, 'of whatever kind');
  for (let at = 0; at < summed.length; at++) {
    const damaged = Buffer.from(summed);
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    t.equal(summedBytes.decode(damaged), null, `byte ${at}`);
  }
  t.equal(summedBytes.decode(summed.subarray(0, 3)), null, 'no room for a sum');
});
