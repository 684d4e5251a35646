/** A backing that another process made shorter: what is lost is an error, and never zeros. */
import { truncateSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { Command, NbdErrno } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { curl } from './daxd.js';
import { isRunning, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

async function serves(t: Test, daxd: NbdDaxd): Promise<void> {
  t.ok(isRunning(daxd));
  t.equal((await curl(`${daxd.url}/livez`)).status, 200, 'and HTTP goes on');
}

for (const style of ['structured', 'extended'] as const) {
  t.test(
    `what lies past the end of a sparse backing that shrank is no hole: ${style}`,
    async (t) => {
      const daxd = await startNbd(t, { args: ['--size', '32M', '--sparse'] });
      const contexts = ['base:allocation'];
      const client = await Transmission.start(t, daxd.address, '', { style, contexts });
      truncateSync(daxd.image, 16 * MIB);
      const status = { command: Command.BlockStatus };
      const inside = await client.call({ ...status, offset: 8 * MIB, length: 8 * MIB });
      const extents = [...inside.extents().values()].flat();
      t.strictSame(extents, [{ length: 8 * MIB, status: 3 }], 'before it there are holes');
      for (const [offset, length] of [
        [16 * MIB, 4096],
        [16 * MIB - 4096, 8192],
        [0, 32 * MIB],
        [24 * MIB, 8 * MIB],
      ] as const) {
        const error = await client.errorOf({ ...status, offset, length });
        t.equal(error, NbdErrno.EIO, `${length} bytes at ${offset}`);
      }
      await serves(t, daxd);
    },
  );
}

t.test('qemu-img makes no zeros of what a backing has lost', async (t) => {
  if (!requires(t, { commands: ['qemu-img'] })) return;
  const daxd = await startNbd(t, { args: ['--size', '32M', '--sparse'] });
  truncateSync(daxd.image, 16 * MIB);
  const copy = join(daxd.directory, 'copy.img');
  const { status } = runJudge('qemu-img', ['convert', '-O', 'raw', daxd.uri('pmem0'), copy]);
  t.not(status, 0);
});
