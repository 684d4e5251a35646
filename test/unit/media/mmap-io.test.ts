import t from 'tap';

import { InvariantError } from '../../../src/lib/assert.js';
import { MMAP_IO_END_MAX, mapThroughMmapIo } from '../../../src/media/mmap-io.js';

/** No such descriptor: a request that passes the assertions fails in mmap itself. */
const request = { path: 'nothing', fd: 1 << 20, offset: 0, length: 4096, readOnly: false };

t.test('mapThroughMmapIo: a window that its int casts would break never reaches it', async (t) => {
  const breaches = [
    { offset: 2 ** 32, length: 4096 },
    { offset: 2 ** 31, length: 4096 },
    { offset: 0, length: 2 ** 31 },
    { offset: 0, length: 2 ** 32 },
    { offset: 2 ** 30, length: 2 ** 30 },
    { offset: MMAP_IO_END_MAX, length: 1 },
    { offset: -4096, length: 4096 },
    { offset: 512, length: 4096 },
    { offset: 0, length: 0 },
    { offset: 0, length: -1 },
    { offset: 0, length: 0.5 },
  ];
  for (const breach of breaches) {
    t.throws(() => mapThroughMmapIo({ ...request, ...breach }), InvariantError);
  }
});

t.test(
  'mapThroughMmapIo: the last window that it can map passes; mmap says its errno',
  async (t) => {
    const last = { offset: MMAP_IO_END_MAX - 4096, length: 4096 };
    t.throws(() => mapThroughMmapIo({ ...request, ...last }), {
      name: 'DaxdError',
      code: 'EIO',
      message: 'mmap of nothing, 4096 bytes at 2147475456 failed with EBADF',
    });
  },
);
