import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import {
  INFO_BLOCK_BYTES,
  INFO_BLOCK_OFFSET,
  decodeInfoBlock,
  encodeInfoBlock,
} from '../../src/nvdimm/info-block.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { curl, startDaxd, startRefused } from './daxd.js';
import { copySparse, kernelImages, sameBytes } from './images.js';

const kernelImage = await kernelImages(t);

t.test('serve: what will not do is refused, and nothing is written', async (t) => {
  const { directory, path, pristine } = kernelImage(t);
  const none = join(directory, 'none.img');
  const odd = join(directory, 'odd.img');
  writeFileSync(odd, Buffer.alloc(4097));
  const refused: readonly [string[], number, RegExp][] = [
    [['--backing', path, '--init'], 1, /EEXIST.*info block.*4096.*clear/s],
    [['--backing', path, '--mount', 'pmem0p9'], 1, /ENOENT.*pmem0p9/],
    [['--backing', none], 1, /ENOENT.*--size/],
    [['--backing', directory], 1, /EISDIR/],
    [['--backing', odd], 1, /EINVAL.*4097/],
    [['--backing', path, '--size', '12Q'], 2, /--size "12Q"/],
    [['--backing', path, '--listen', '0.0.0.0:1'], 2, /reachable from other machines/],
  ];
  for (const [args, exit, stderr] of refused) {
    t.match(startRefused(args), { exit, stderr }, args.slice(1).join(' '));
  }
  t.ok(sameBytes(path, pristine));
});

t.test('serve: a truncated image has no partitions, says why, and stays as it is', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const { directory, path } = kernelImage(t);
  truncateSync(path, 100 * 1024 * 1024);
  const before = join(directory, 'before.img');
  copySparse(path, before);
  const daxd = await startDaxd(t, ['--backing', path]);
  t.strictSame((await curl(`${daxd.url}/v1/partitions`)).json, []);
  t.ok(daxd.stderr.some((line) => line.includes('"warn"') && line.includes('EUCLEAN')));
  t.equal(await daxd.stop(), 0);
  t.ok(sameBytes(path, before));
});

t.test('serve: an info block with bad geometry is EOPNOTSUPP, never taken as raw', async (t) => {
  const { directory, path: image } = kernelImage(t);
  const fd = openSync(image, 'r+');
  const block = Buffer.alloc(INFO_BLOCK_BYTES);
  readSync(fd, block, 0, block.length, INFO_BLOCK_OFFSET);
  const good = decodeInfoBlock(block);
  const bad = encodeInfoBlock({ ...good, dataoff: 2 ** 40 });
  writeSync(fd, bad, 0, bad.length, INFO_BLOCK_OFFSET);
  closeSync(fd);
  const before = join(directory, 'before.img');
  copySparse(image, before);
  t.match(startRefused(['--backing', image]), { exit: 1, stderr: /EOPNOTSUPP/ });
  t.ok(sameBytes(image, before));
});

t.test('serve: random bytes attach raw with a warning, and stay as they are', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const directory = scratchDirectory(t);
  const image = join(directory, 'noise.img');
  const before = join(directory, 'before.img');
  writeFileSync(image, randomBytes(32 * 1024 * 1024));
  copySparse(image, before);
  const daxd = await startDaxd(t, ['--backing', image]);
  t.match((await curl(`${daxd.url}/v1/device`)).json.namespace, { mode: 'raw', map: 'none' });
  t.strictSame((await curl(`${daxd.url}/v1/partitions`)).json, []);
  t.ok(daxd.stderr.some((line) => line.includes('"warn"') && line.includes('raw')));
  t.equal(await daxd.stop(), 0);
  t.ok(sameBytes(image, before));
  const init = startRefused(['--backing', image, '--init']);
  t.match(init, { exit: 1, stderr: /EEXIST.*not blank/ });
  t.ok(sameBytes(image, before));
});

t.test(
  'serve: a second daemon on the same media is refused, with the pid of the first',
  async (t) => {
    const { path: image } = kernelImage(t);
    const daxd = await startDaxd(t, ['--backing', image]);
    const second = startRefused(['--backing', image]);
    t.match(second, { exit: 1, stderr: new RegExp(`EBUSY.*${daxd.child.pid}`) });
    t.equal(await daxd.stop(), 0);
    const third = await startDaxd(t, ['--backing', image]);
    t.equal(await third.stop(), 0, 'once it is gone another takes over');
  },
);
