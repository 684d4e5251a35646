/** Stores that the kernel does, into a leased range of the map, while a truncate waits. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { fsck } from '../support/ext4-image.js';
import { bytesAt } from '../support/bytes-at.js';
import { extract } from '../support/extract.js';
import { isListening } from '../support/is-listening.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { curl, partitionOffset, post, startCurl, startDaxd } from './daxd.js';
import { eventually } from './nbd.js';

const LENGTH = MIB;
/** Blocks of that length in the source: each pass brings others than the one before. */
const BLOCKS = 4;
/** What the reader exits with where the kernel has no io_uring for it. */
const NO_ABILITY = 77;
const TMPFS_MAGIC = 0x0102_1994;

const SOURCE = Array.from({ length: BLOCKS }, () => randomBytes(LENGTH));

/** A program that has the kernel store into a range, as it stands in reader.c. */
interface Reader {
  readonly child: ChildProcess;
  /** Passes that have begun and ended. */
  readonly begun: () => number;
  readonly ended: () => number;
  /** Tells it to end with the pass under way; settles when it can read that. */
  readonly end: () => Promise<void>;
  readonly exited: Promise<number | null>;
}

function compileReader(t: Test): string {
  const binary = join(scratchDirectory(t), 'reader');
  const flags = ['-Wall', '-Wextra', '-Werror', '-O1', '-o', binary];
  const compiled = spawnSync('cc', [...flags, 'test/support/dma/reader.c'], { encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(compiled.stderr);
  return binary;
}

/** A directory on a filesystem that takes O_DIRECT and has a device below it. */
function diskDirectory(t: Test): string | undefined {
  for (const base of [tmpdir(), process.cwd()]) {
    const directory = mkdtempSync(join(base, '.dma-'));
    t.teardown(() => {
      rmSync(directory, { recursive: true, force: true });
    });
    if (statfsSync(directory).type === TMPFS_MAGIC) continue;
    const probe = join(directory, 'probe');
    try {
      closeSync(openSync(probe, constants.O_CREAT | constants.O_RDWR | constants.O_DIRECT));
      return directory;
    } catch {
      t.comment(`${base} takes no O_DIRECT`);
    }
  }
  const reason = 'needs a disk that takes O_DIRECT';
  if (process.env['CI'] === 'true') t.fail(reason);
  else t.pass(reason, { skip: reason });
  return undefined;
}

async function setUp(t: Test) {
  // Buffers that io_uring registers are pinned for long: the kernel pins none of a disk's files so.
  const directory = scratchDirectory(t);
  const backing = join(directory, 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', backing, '--size', '64M', '--init']);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  const put = async (body: Buffer) => fetch(`${p1}/files/a`, { method: 'PUT', body });
  await put(Buffer.alloc(LENGTH, 'x'));
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  const content = async () =>
    Buffer.from(
      await (
        await fetch(`${p1}/files/a`, { headers: { range: `bytes=0-${LENGTH - 1}` } })
      ).arrayBuffer(),
    );
  const truncate = () => startCurl(post(`${p1}/truncate`, { path: 'a', size: 0 }));
  const operations = async (): Promise<readonly object[]> =>
    (await curl(`${daxd.url}/v1/operations`)).json.operations;
  /** Ends the daemon and asks e2fsck. */
  const judge = async (): Promise<void> => {
    t.equal(await daxd.stop(), 0);
    const { status, output } = fsck(extract(backing, place, join(directory, 'p1.img')));
    t.equal(status, 0, output);
  };
  return { directory, backing, daxd, p1, content, truncate, operations, judge };
}

async function lend(daxd: { readonly url: string }) {
  const asked = { partition: 'pmem0p1', path: 'a', offset: 0, length: LENGTH, access: 'write' };
  const { json } = await curl(...post(`${daxd.url}/v1/leases`, { ...asked, ttl_ms: 60_000 }));
  const [extent, ...others] = json.extents;
  if (others.length > 0) throw new Error('the reader maps one extent');
  return { id: String(json.id), backing: String(json.backing_path), at: extent.device_offset };
}

function startReader(t: Test, binary: string, args: readonly (string | number)[]): Reader {
  const child = spawn(binary, args.map(String), { stdio: ['pipe', 'pipe', 'inherit'] });
  let begun = 0;
  let ended = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line.endsWith('begins')) begun++;
    else ended++;
  });
  const exited = once(child, 'close').then(([code]: (number | null)[]) => code ?? null);
  // It may be dead only once its source answers, which is torn down behind it.
  t.teardown(() => child.kill('SIGKILL'));
  const end = async (): Promise<void> => {
    child.stdin.end();
    await finished(child.stdin);
  };
  return { child, begun: () => begun, ended: () => ended, end, exited };
}

/** Whether the reader has begun a pass; said and skipped where the kernel has no io_uring. */
async function hasBegun(t: Test, reader: Reader): Promise<boolean> {
  await eventually(reader.begun, (passes) => passes > 0 || reader.child.exitCode !== null);
  if (reader.child.exitCode !== NO_ABILITY) return true;
  const reason = 'the kernel has no io_uring for this process';
  t.comment(reason);
  t.pass(reason, { skip: reason });
  return false;
}

/** The source behind FUSE; while its server is stopped, every read of it is in flight. */
async function slowSource(t: Test, disk: string) {
  const socket = join(disk, 'source.sock');
  const file = join(disk, 'source');
  const shown = join(disk, 'shown');
  writeFileSync(file, Buffer.concat(SOURCE));
  writeFileSync(shown, '');
  const server = spawn('nbdkit', ['-f', '-r', '-U', socket, 'file', file], { stdio: 'ignore' });
  t.teardown(() => server.kill('SIGKILL'));
  await eventually(
    () => isListening(socket),
    (isReady) => isReady,
  );
  const fuse = spawn('nbdfuse', ['-r', shown, `nbd+unix:///?socket=${socket}`], {
    stdio: 'inherit',
  });
  const unmounted = once(fuse, 'exit');
  t.teardown(async () => {
    server.kill('SIGKILL');
    spawnSync('umount', ['-l', shown]);
    fuse.kill('SIGTERM');
    await unmounted;
  });
  await eventually(
    () => statSync(shown).size,
    (size) => size === BLOCKS * LENGTH || fuse.exitCode !== null,
  );
  return { path: shown, stop: () => server.kill('SIGSTOP'), go: () => server.kill('SIGCONT') };
}

const SLOW = ['cc', 'curl', 'e2fsck', 'nbdkit', 'nbdfuse', 'umount'];

for (const by of ['pread', 'uring']) {
  t.test(`${by}: reads from a disk go on while a truncate waits`, async (t) => {
    if (!requires(t, { commands: ['cc', 'curl', 'e2fsck'] })) return;
    const disk = diskDirectory(t);
    if (disk === undefined) return;
    const source = join(disk, 'source');
    writeFileSync(source, Buffer.concat(SOURCE), { flush: true });
    const { daxd, p1, content, truncate, operations, judge } = await setUp(t);
    const { id, backing, at } = await lend(daxd);
    const reader = startReader(t, compileReader(t), [by, backing, at, LENGTH, source]);
    if (!(await hasBegun(t, reader))) return;

    const waiting = truncate();
    await eventually(operations, (list) => list.length > 0);
    const before = reader.begun();
    await eventually(reader.ended, (passes) => passes > before + 2 * BLOCKS);
    t.ok(reader.ended() > before + 2 * BLOCKS, `${reader.ended() - before} passes meanwhile`);
    await reader.end();
    t.equal(await reader.exited, 0);
    const last = SOURCE[(reader.ended() - 1) % BLOCKS];
    t.ok(last?.equals(await content()), 'what the last pass read is the file');
    t.match(await operations(), [{ op: 'truncate', done: false, blocked_by: [id] }], 'it waits');

    t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${id}`)).status, 204);
    t.match(await waiting.answer, { status: 200, json: { size: 0 } });
    t.match((await curl(`${p1}/stat/a`)).json, { size: 0, blocks: 0 });
    await judge();
  });

  t.test(`${by}: one read is in flight from before the truncate to its end`, async (t) => {
    if (!requires(t, { commands: SLOW, root: true })) return;
    const { directory, daxd, content, truncate, operations, judge } = await setUp(t);
    const source = await slowSource(t, directory);
    const { id, backing, at } = await lend(daxd);
    source.stop();
    const reader = startReader(t, compileReader(t), [by, backing, at, LENGTH, source.path]);
    if (!(await hasBegun(t, reader))) return;

    const waiting = truncate();
    await eventually(operations, (list) => list.length > 0);
    t.equal(reader.ended(), 0, 'in flight');
    t.ok((await content()).equals(Buffer.alloc(LENGTH, 'x')), 'nothing has come');
    await reader.end();
    source.go();
    t.equal(await reader.exited, 0);
    t.equal(reader.ended(), 1);
    t.ok(SOURCE[0]?.equals(await content()), 'it has come, and into the file');
    t.match(await operations(), [{ op: 'truncate', done: false, blocked_by: [id] }], 'it waits');

    await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${id}`);
    t.match(await waiting.answer, { status: 200, json: { size: 0 } });
    await judge();
  });
}

t.test('without a lease the truncate waits for no read', async (t) => {
  if (!requires(t, { commands: SLOW, root: true })) return;
  const { directory, backing, p1, truncate, operations, judge } = await setUp(t);
  const source = await slowSource(t, directory);
  const [extent] = (await curl(`${p1}/stat/a`)).json.extents;
  const at = extent.device_offset;
  source.stop();
  const reader = startReader(t, compileReader(t), ['pread', backing, at, LENGTH, source.path]);
  await eventually(reader.begun, (passes) => passes > 0);

  t.match(await truncate().answer, { status: 200, json: { size: 0, waited_ms: 0 } });
  t.strictSame(await operations(), []);
  t.equal(reader.ended(), 0, 'in flight');
  await reader.end();
  source.go();
  t.equal(await reader.exited, 0);
  t.ok(SOURCE[0]?.equals(bytesAt(backing, at, LENGTH)), 'it came into blocks that are free');
  await judge();
});
