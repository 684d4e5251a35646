/** The exports of a daemon that may not store a byte. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { Command, CommandFlag, NbdErrno, TransmissionFlag } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { curl } from './daxd.js';
import { sameBytes } from './images.js';
import { isServed } from './nbd-errors.js';
import { startNbd } from './nbd.js';

t.test('read-only: it says so, and every change is EPERM', async (t) => {
  const maker = await startNbd(t, { args: ['--size', '16M', '--sparse'] });
  const { directory, image } = maker;
  const before = await Transmission.start(t, maker.address, '');
  await isServed(t, before, 'written');
  await before.disconnect();
  t.equal(await maker.stop(), 0);
  copyFileSync(image, join(directory, 'pristine'));

  const daxd = await startNbd(t, { directory, args: ['--read-only'] });
  const [exported] = (await curl(`${daxd.url}/v1/nbd`)).json.exports;
  t.equal(exported.read_only, true);
  for (const style of ['simple', 'structured', 'extended'] as const) {
    const client = await Transmission.start(t, daxd.address, '', { style });
    t.ok(((client.info.flags ?? 0) & TransmissionFlag.ReadOnly) !== 0);
    const payloadLen = style === 'extended' ? CommandFlag.PayloadLen : 0;
    const payload = Buffer.alloc(200_000, 1);
    const { Write, Trim, WriteZeroes, Flush, Cache } = Command;
    for (const offset of [0, 4096]) {
      const write = { command: Write, offset, payload, flags: payloadLen };
      t.equal(await client.errorOf(write), NbdErrno.EPERM);
      t.equal((await client.read(7, 7)).toString(), 'written', 'its payload was read');
      t.equal(await client.errorOf({ command: Trim, offset, length: 8192 }), NbdErrno.EPERM);
      for (const flags of [0, CommandFlag.NoHole, CommandFlag.FastZero]) {
        const zeroes = { command: WriteZeroes, offset, length: 8192, flags };
        t.equal(await client.errorOf(zeroes), NbdErrno.EPERM);
      }
    }
    t.equal(await client.errorOf({ command: Flush }), 0);
    t.equal(await client.errorOf({ command: Cache, length: 4096 }), 0);
    t.equal((await client.read(7, 7)).toString(), 'written');
    await client.disconnect();
  }
  t.equal(await daxd.stop(), 0);
  t.ok(sameBytes(image, join(directory, 'pristine')), 'the backing is what it was');
});
