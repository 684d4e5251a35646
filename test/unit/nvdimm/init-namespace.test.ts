import t from 'tap';

import { MIB } from '../../../src/lib/units.js';
import { endInit, isInitCut } from '../../../src/nvdimm/init-mark.js';
import { initNamespace } from '../../../src/nvdimm/init-namespace.js';
import { isBlank } from '../../../src/nvdimm/is-blank.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { fsdaxBacking, setUpProbe } from './probe-set-up.js';

const fsdax = { mode: 'fsdax', map: 'dev', align: 2 * MIB } as const;

t.test('initNamespace: a blank backing attaches as fsdax afterwards', async (t) => {
  const persisted: [number, number][] = [];
  const backing = new MemoryBacking(32 * MIB, {
    onPersist: (offset, length) => {
      persisted.push([offset, length]);
    },
  });
  await initNamespace(backing, { ...fsdax, map: 'mem' });
  t.ok(isInitCut(backing), 'until a filesystem is laid, too');
  await endInit(backing);
  t.strictSame(persisted, [
    [0, 64],
    [4096, 4096],
    [0, 64],
  ]);
  t.equal(
    backing.mapping.view(0, 4096).findIndex((byte) => byte !== 0),
    -1,
    'the first 4 KiB belong to nobody',
  );
  const pmem = await setUpProbe(backing).probe();
  t.match(pmem.namespace, { mode: 'fsdax', map: 'mem', npfns: 7680 });
  t.match(pmem.namespace.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4/, 'a random uuid');
});

t.test('initNamespace: raw writes nothing', async (t) => {
  const backing = new MemoryBacking(4 * MIB);
  await initNamespace(backing, { ...fsdax, mode: 'raw' });
  t.strictSame(isBlank(backing), { blank: true });
  t.equal(backing.persistCount, 0);
});

t.test('initNamespace: EEXIST on anything else, which stays as it is', async (t) => {
  const backing = fsdaxBacking();
  await t.rejects(initNamespace(backing, fsdax), {
    code: 'EEXIST',
    message: /an fsdax info block at byte 4096; to clear it/,
  });
  await t.rejects(initNamespace(backing, { ...fsdax, mode: 'raw' }), { code: 'EEXIST' });
  t.equal(backing.persistCount, 0);
});

t.test('initNamespace: tables of a disk that was there before are cleared', async (t) => {
  const backing = new MemoryBacking(64 * MIB);
  backing.mapping.write(32 * MIB, Buffer.from('data'));
  await initNamespace(backing, { ...fsdax, map: 'mem', align: 32 * MIB });
  t.equal(backing.mapping.view(32 * MIB, 4).toString(), '\0\0\0\0');
});

t.test('initNamespace: refuses what cannot be written or does not fit', async (t) => {
  const readOnly = new MemoryBacking(32 * MIB, { readOnly: true });
  await t.rejects(initNamespace(readOnly, fsdax), { code: 'EROFS' });
  const small = new MemoryBacking(2 * MIB);
  await t.rejects(initNamespace(small, fsdax), { code: 'ENXIO', message: /larger backing/ });
  await t.rejects(initNamespace(small, { ...fsdax, map: 'mem', align: 4096, uuid: 'x' }), {
    code: 'ENXIO',
  });
  await t.rejects(initNamespace(new MemoryBacking(8 * MIB), { ...fsdax, uuid: 'x' }), {
    code: 'EINVAL',
  });
  t.strictSame(isBlank(small), { blank: true });
});
