import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t, { type Test } from 'tap';

import type { ByteRange } from '../../../src/lib/byte-range.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB, PAGE_SIZE } from '../../../src/lib/units.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { CutMark } from '../../../src/nbd/cut-mark.js';
import { ExportAccess } from '../../../src/nbd/export-access.js';
import type { Discarded, DiscardKind } from '../../../src/nbd/main-calls.js';
import { WorkerArena } from '../../../src/nbd/worker-arena.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const SIZE = 256 * MIB;

interface SetUp {
  readonly access: ExportAccess;
  readonly cut: CutMark;
  /** The first page. */
  readonly bytes: () => Buffer;
  /** How often the main thread was asked. */
  readonly asked: () => number;
}

/** An export of a sparse file that begins with a page of 0xA5; `discard` answers for the main thread. */
async function setUp(
  t: Test,
  discard: (cut: CutMark, range: ByteRange) => Discarded,
  tryDiscard: () => boolean = () => false,
): Promise<SetUp> {
  const path = join(scratchDirectory(t), 'image');
  writeFileSync(path, Buffer.alloc(PAGE_SIZE, 0xa5));
  truncateSync(path, SIZE);
  const backing = await openBacking(path, { log: silentLogger });
  t.teardown(() => backing.close());
  const memory = backing.rawMemory?.();
  if (memory === undefined) throw new Error('a file has raw memory');
  const info = { name: 'pmem0', description: '', sizeBytes: SIZE, readOnly: false, contexts: [] };
  const open = { info, memory, start: 0, pages: undefined };
  const cut = new CutMark();
  let asked = 0;
  const calls = {
    discard: (_: DiscardKind, offset: number, length: number) => {
      asked++;
      return discard(cut, { offset, length });
    },
    tryDiscard,
  };
  const access = new ExportAccess({ open, arena: new WorkerArena(), calls, cut });
  const bytes = (): Buffer => {
    const page = Buffer.alloc(PAGE_SIZE);
    backing.mapping.read(0, page);
    return page;
  };
  return { access, cut, bytes, asked: () => asked };
}

function cannot(): never {
  throw new DaxdError('EOPNOTSUPP', 'there are no holes here');
}

t.test(
  'where no holes can be made: zeros are stored, TRIM does nothing, fast is refused',
  async (t) => {
    const { access, bytes, asked } = await setUp(t, cannot);
    t.equal(access.trim(0, PAGE_SIZE), 0);
    t.throws(
      () => {
        access.writeZeroes(0, 100, { hole: true, fast: true });
      },
      { code: 'EOPNOTSUPP' },
    );
    t.equal(asked(), 2);
    t.equal(bytes()[0], 0xa5, 'it is as it was');
    access.writeZeroes(0, 100, { hole: true, fast: false });
    t.ok(bytes().subarray(0, 100).equals(Buffer.alloc(100)));
    t.equal(bytes()[100], 0xa5);
  },
);

t.test('a fast request that is refused changes nothing, wherever that comes out', async (t) => {
  const whole = { hole: true, fast: true };
  // The first piece lies in a page that the request covers in part, or is pinned.
  const { access, bytes, asked } = await setUp(t, (_, range) =>
    range.offset === 0 ? { left: [range], pinnedPages: 0 } : cannot(),
  );
  const wide = (): void => {
    access.writeZeroes(0, 65 * MIB, whole);
  };
  t.throws(wide, { code: 'EOPNOTSUPP' });
  t.equal(asked(), 2);
  t.equal(bytes()[0], 0xa5);
  const within = (): void => {
    access.writeZeroes(0, 100, whole);
  };
  t.throws(within, { code: 'EOPNOTSUPP' }, 'where no more than a part of a page is asked for, too');
  t.equal(bytes()[0], 0xa5);
  access.writeZeroes(0, 0, whole);
});

t.test('a fast request stores what is left where the backing can discard', async (t) => {
  const { access, bytes } = await setUp(
    t,
    (_, range) => ({ left: [range], pinnedPages: 0 }),
    () => true,
  );
  access.writeZeroes(10, 100, { hole: true, fast: true });
  t.equal(bytes()[9], 0xa5);
  t.ok(bytes().subarray(10, 110).equals(Buffer.alloc(100)));
  t.equal(bytes()[110], 0xa5);
});

t.test('where a hole fails in another way that is what the client hears', async (t) => {
  const { access } = await setUp(t, () => {
    throw new DaxdError('EIO', 'the disk failed');
  });
  t.throws(() => access.trim(0, PAGE_SIZE), { code: 'EIO' });
  t.throws(
    () => {
      access.writeZeroes(0, PAGE_SIZE, { hole: true, fast: false });
    },
    { code: 'EIO' },
  );
});

t.test('a long request ends between two pieces when its connection is cut', async (t) => {
  const { access, cut, bytes, asked } = await setUp(t, (mark) => {
    mark.set();
    return { left: [], pinnedPages: 0 };
  });
  const requests = [
    () => access.trim(0, SIZE),
    () => {
      access.writeZeroes(0, SIZE, { hole: true, fast: false });
    },
    () => {
      access.writeZeroes(0, SIZE, { hole: true, fast: true });
    },
  ];
  for (const [i, request] of requests.entries()) {
    cut.clear();
    t.throws(request, { name: 'ConnectionEnd' });
    t.equal(asked(), i + 1, 'one piece was done');
  }
  t.throws(
    () => {
      access.writeZeroes(0, SIZE, { hole: false, fast: false });
    },
    { name: 'ConnectionEnd' },
  );
  t.equal(bytes()[0], 0xa5, 'nothing is stored any more');
});
