import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { GIB, MIB } from '../../src/lib/units.js';
import { makeImage, runJudge } from '../support/ext4-image.js';
import { times } from '../support/random-test.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { curl, type Daxd, post, startDaxd } from './daxd.js';

const TIB = 1024 * GIB;

/** Time that its threads have run so far: unlike that of the clock, nobody else's load counts. */
function cpuMs({ child }: Daxd): number {
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8');
  const [user, system] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14);
  // In ticks, of which Linux shows 100 a second on all platforms of Node.
  return 10 * (Number(user) + Number(system));
}

function put(url: string, body: string): string[] {
  return ['-X', 'PUT', '-H', 'content-type: application/octet-stream', '--data-binary', body, url];
}

/** Resident memory of a daemon, in bytes. */
function residentBytes({ child }: Daxd): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

t.test('serve: 1 TiB, raw, made by mke2fs: ready and mounted as a small one is', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'curl', 'e2fsck'] })) return;
  const directory = scratchDirectory(t);
  const small = join(directory, 'small.img');
  const large = join(directory, 'large.img');
  makeImage(small, 64 * MIB);
  makeImage(large, TIB, ['-E', 'lazy_itable_init=1,lazy_journal_init=1']);

  const took: { ms: number; bytes: number }[] = [];
  for (const image of [small, large]) {
    const daxd = await startDaxd(t, ['--backing', image]);
    took.push({ ms: cpuMs(daxd), bytes: residentBytes(daxd) });
    const [whole] = (await curl(`${daxd.url}/v1/partitions`)).json;
    t.match(whole, { name: 'pmem0', filesystem: { mounted: true, read_only: false } });
    t.equal(
      (await curl(...put(`${daxd.url}/v1/partitions/pmem0/files/hello`, 'hello'))).status,
      201,
    );
    t.equal(await daxd.stop(), 0);
    t.match(runJudge('e2fsck', ['-fn', image]), { status: 0 });
  }
  const [less = { ms: 0, bytes: 0 }, more = { ms: 0, bytes: 0 }] = took;
  t.ok(more.ms - less.ms < 1000, `${more.ms} ms of work until ready, ${less.ms} of a small one`);
  const grown = more.bytes - less.bytes;
  t.ok(grown < 100 * MIB, `${more.bytes} bytes resident, ${less.bytes} of a small one`);
});

t.test('serve: a large namespace that --init makes: sparse, clean, mounted at once', async (t) => {
  if (!requires(t, { commands: ['curl', 'e2fsck'] })) return;
  const image = join(scratchDirectory(t), 'pmem0.img');
  // V8 collects garbage for each window that mkfs touches: 1 TiB takes up to a minute.
  const size = ['--size', `${times(64)}G`, '--sparse'];
  const first = await startDaxd(t, ['--backing', image, ...size, '--init']);
  const [made] = (await curl(`${first.url}/v1/partitions`)).json;
  t.match(made, { name: 'pmem0p1', filesystem: { label: 'daxd', mounted: true } });
  const { data_offset: dataOffset } = (await curl(`${first.url}/v1/device`)).json.namespace;
  t.equal(await first.stop(), 0);
  t.ok(
    statSync(image).blocks * 512 < 256 * MIB,
    'its inode tables alone have 1 GiB of 64, or 20 of 1280',
  );
  const at = `${image}?offset=${dataOffset + made.start}`;
  t.match(runJudge('e2fsck', ['-fn', at]), { status: 0 });

  const daxd = await startDaxd(t, ['--backing', image]);
  const bytes = residentBytes(daxd);
  t.ok(bytes < 250 * MIB, `${bytes} bytes resident`);

  const url = `${daxd.url}/v1/partitions/pmem0p1`;
  t.equal((await curl(...put(`${url}/files/far`, 'far'))).status, 201);
  const beforeMs = cpuMs(daxd);
  t.equal((await curl(...post(`${url}/unmount`))).status, 200);
  t.equal((await curl(...post(`${url}/mount`))).status, 200);
  const againMs = cpuMs(daxd) - beforeMs;
  t.ok(againMs < 1000, `${againMs} ms to unmount and mount again`);
  t.equal((await curl(`${url}/files/far`)).body, 'far');
  t.equal(await daxd.stop(), 0);
});
