/** fio writes checksummed blocks over four connections, and reads them back after a restart. */
import { closeSync, openSync, writeSync } from 'node:fs';

import t from 'tap';

import { runJudge } from '../support/ext4-image.js';
import { requires } from '../support/requires.js';
import { testSeed } from '../support/random-test.js';
import { startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

/** The same job for the write and the read; each of the four has 16 MiB of its own. */
function fio(daxd: NbdDaxd, seed: number, ...args: string[]) {
  const job = {
    name: 'verify',
    ioengine: 'nbd',
    uri: daxd.uri(''),
    rw: 'randwrite',
    bsrange: '512-128k',
    iodepth: '16',
    numjobs: '4',
    size: '16m',
    offset_increment: '16m',
    verify: 'crc32c',
    // Without it fio prints what is wrong and exits with 0.
    verify_fatal: '1',
    verify_state_save: '0',
    randseed: String(seed),
  };
  const options = Object.entries(job).map(([name, value]) => `--${name}=${value}`);
  return runJudge('fio', [...options, ...args]);
}

for (const args of [[], ['--sparse']]) {
  t.test(`fio: crc32c, four connections, a restart between ${args.join('')}`, async (t) => {
    if (!requires(t, { commands: ['fio'] })) return;
    const seed = testSeed(t);
    const daxd = await startNbd(t, { args: ['--size', '64M', ...args] });
    const written = fio(daxd, seed, '--do_verify=0');
    t.equal(written.status, 0, written.output);
    t.equal(await daxd.stop(), 0);

    const { directory } = daxd;
    const next = await startNbd(t, { directory });
    const verified = fio(next, seed, '--verify_only');
    t.equal(verified.status, 0, verified.output);
    t.match(verified.output, /READ: bw=.*io=64\.0MiB/, 'all of it was read');
    const mixed = fio(next, seed, '--rw=randrw', '--verify_backlog=64');
    t.equal(mixed.status, 0, mixed.output);
    t.equal(fio(next, seed, '--do_verify=0').status, 0);
    t.equal(await next.stop(), 0);

    // Control: one byte of the backing is other than written.
    const fd = openSync(daxd.image, 'r+');
    writeSync(fd, Buffer.of(0, 1, 2, 3), 0, 4, 33 * 2 ** 20 + 700);
    closeSync(fd);
    const last = await startNbd(t, { directory });
    t.not(fio(last, seed, '--verify_only').status, 0, 'fio sees what is wrong');
    t.equal(await last.stop(), 0);
  });
}
