/**
 * Requests over pages that are lent: NBD has no EBUSY and waits for no lease. What the holder of
 * the pages sees is looked at through the backing, as a holder does.
 */
import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { Command, CommandFlag, NbdErrno } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { beginUpload, metric, partitionOffset, whenDraining } from './daxd.js';
import { addPartition, leaseRaw, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const PAGE_BYTES = 4096;
const PART_BYTES = 8 * MIB;
/** Pages of the lease, within a range of 64 pages. */
const LEASED = { from: 16, to: 20 } as const;
const RANGE_PAGES = 64;
const RANGE = { offset: 0, length: RANGE_PAGES * PAGE_BYTES };
const FILLED = Buffer.alloc(RANGE.length, 0xaa);

/** Prints the pages of a range that are no holes: SEEK_DATA stays where it is on those. */
const ALLOCATED_PAGES = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
start, pages = int(sys.argv[2]), int(sys.argv[3])
for page in range(pages):
    at = start + page * 4096
    try:
        if os.lseek(fd, at, os.SEEK_DATA) == at: print(page)
    except OSError: break
`;

async function setUp(t: Test, ...args: string[]) {
  const daxd = await startNbd(t, { args: ['--size', '32M', ...args] });
  const name = await addPartition(daxd, 'lent', PART_BYTES);
  const client = await Transmission.start(t, daxd.address, name);
  await client.write(0, FILLED);
  const length = (LEASED.to - LEASED.from) * PAGE_BYTES;
  const lease = await leaseRaw(daxd, name, [LEASED.from * PAGE_BYTES, length]);
  const [start] = await partitionOffset(daxd.url, name);
  const fd = openSync(daxd.image, 'r+');
  t.teardown(() => {
    closeSync(fd);
  });
  const holder = { fd, start };
  return { daxd, name, client, lease, holder };
}

interface Holder {
  readonly fd: number;
  readonly start: number;
}

/** Bytes of the partition as they lie in the backing. */
function bytesOf({ fd, start }: Holder, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, start + offset);
  return bytes;
}

/** Pages of the range that are allocated in the backing, as the kernel maps it. */
function allocatedPages({ image }: NbdDaxd, { start }: Holder): number[] {
  const { output } = runJudge('python3', [
    '-c',
    ALLOCATED_PAGES,
    image,
    String(start),
    String(RANGE_PAGES),
  ]);
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

const everyPage = Array.from({ length: RANGE_PAGES }, (_, page) => page);
const leasedPages = everyPage.filter((page) => page >= LEASED.from && page < LEASED.to);

async function skippedPages(daxd: NbdDaxd, name: string): Promise<number> {
  const series = `daxd_nbd_trim_skipped_pages_total{export="${name}"}`;
  return (await metric(daxd.url, series)) ?? 0;
}

t.test('TRIM on a sparse backing punches around the pages of a lease', async (t) => {
  const { daxd, name, client, holder } = await setUp(t, '--sparse');
  t.strictSame(allocatedPages(daxd, holder), everyPage);
  t.equal(await client.errorOf({ command: Command.Trim, ...RANGE }), 0);
  t.strictSame(allocatedPages(daxd, holder), leasedPages, 'all else is a hole');
  const expected = Buffer.alloc(RANGE.length);
  expected.fill(0xaa, LEASED.from * PAGE_BYTES, LEASED.to * PAGE_BYTES);
  t.ok(bytesOf(holder, 0, RANGE.length).equals(expected), 'the holder has its bytes');
  t.ok((await client.read(0, RANGE.length)).equals(expected));
  t.equal(await skippedPages(daxd, name), leasedPages.length);

  writeSync(holder.fd, 'DMA', holder.start + LEASED.from * PAGE_BYTES);
  const seen = await client.read(LEASED.from * PAGE_BYTES, 3);
  t.equal(seen.toString(), 'DMA', 'and still writes into the export');
});

t.test('TRIM on an allocated backing is no change at all', async (t) => {
  const { daxd, client, holder } = await setUp(t);
  const { blocks } = statSync(daxd.image);
  t.equal(await client.errorOf({ command: Command.Trim, ...RANGE }), 0);
  t.ok(bytesOf(holder, 0, RANGE.length).equals(FILLED));
  t.strictSame(allocatedPages(daxd, holder), everyPage);
  t.equal(statSync(daxd.image).blocks, blocks);
});

for (const [kind, args] of [
  ['sparse', ['--sparse']],
  ['allocated', []],
] as const) {
  t.test(`WRITE_ZEROES on a ${kind} backing zeroes lent pages where they are`, async (t) => {
    const { daxd, name, client, holder } = await setUp(t, ...args);
    t.equal(await client.errorOf({ command: Command.WriteZeroes, ...RANGE }), 0);
    t.ok(bytesOf(holder, 0, RANGE.length).equals(Buffer.alloc(RANGE.length)));
    const left = kind === 'sparse' ? leasedPages : everyPage;
    t.strictSame(allocatedPages(daxd, holder), left);
    writeSync(holder.fd, 'DMA', holder.start + LEASED.from * PAGE_BYTES);
    t.equal((await client.read(LEASED.from * PAGE_BYTES, 3)).toString(), 'DMA');
    t.equal(await skippedPages(daxd, name), 0, 'only what TRIM leaves out is counted');
  });
}

t.test('WRITE_ZEROES with NO_HOLE leaves no hole', async (t) => {
  const { daxd, client, holder } = await setUp(t, '--sparse');
  const flags = CommandFlag.NoHole;
  t.equal(await client.errorOf({ command: Command.WriteZeroes, flags, ...RANGE }), 0);
  t.ok(bytesOf(holder, 0, RANGE.length).equals(Buffer.alloc(RANGE.length)));
  t.strictSame(allocatedPages(daxd, holder), everyPage);
});

t.test('WRITE_ZEROES with FAST_ZERO: by holes where there may be some', async (t) => {
  const sparse = await setUp(t, '--sparse');
  const zeroes = { command: Command.WriteZeroes, flags: CommandFlag.FastZero };
  const free = { offset: 0, length: LEASED.from * PAGE_BYTES };
  t.equal(await sparse.client.errorOf({ ...zeroes, ...free }), 0);
  t.ok(bytesOf(sparse.holder, 0, free.length).equals(Buffer.alloc(free.length)));
  t.ok(bytesOf(sparse.holder, free.length, PAGE_BYTES).equals(FILLED.subarray(0, PAGE_BYTES)));

  const allocated = await setUp(t);
  t.equal(await allocated.client.errorOf({ ...zeroes, ...RANGE }), NbdErrno.ENOTSUP);
  t.ok(bytesOf(allocated.holder, 0, RANGE.length).equals(FILLED), 'and then nothing happened');
});

t.test('FAST_ZERO that is refused changes nothing, of whatever part of a page', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '96M'] });
  const client = await Transmission.start(t, daxd.address, 'pmem0');
  const border = 64 * MIB;
  const filled = Buffer.alloc(16_384, 0xaa);
  await client.write(border - 8192, filled);
  for (const [offset, length] of [
    [border - 100, 4196],
    [border - 100, 50],
    [border - 4096, 4096],
  ] as const) {
    const zeroes = { command: Command.WriteZeroes, flags: CommandFlag.FastZero, offset, length };
    t.equal(await client.errorOf(zeroes), NbdErrno.ENOTSUP, `${length} bytes at ${offset}`);
    t.ok((await client.read(border - 8192, 16_384)).equals(filled));
  }
});

t.test('reads and writes go to lent pages, as a holder would', async (t) => {
  const { client, holder } = await setUp(t, '--sparse');
  const bytes = Buffer.from('over NBD');
  await client.write(LEASED.from * PAGE_BYTES + 1, bytes);
  t.ok(bytesOf(holder, LEASED.from * PAGE_BYTES + 1, bytes.length).equals(bytes));
});

t.test('SIGTERM waits for no client and no lease; drained requests say so', async (t) => {
  const { daxd, client } = await setUp(t);
  // It gives a call that has begun two seconds.
  await beginUpload(`${daxd.url}/v1/partitions`, 'POST', 'application/json');
  daxd.child.kill('SIGTERM');
  await whenDraining(daxd);
  t.equal(await client.errorOf({ command: Command.Read, length: 1 }), NbdErrno.ESHUTDOWN);
  const payload = Buffer.alloc(100_000, 1);
  t.equal(await client.errorOf({ command: Command.Write, payload }), NbdErrno.ESHUTDOWN);
  t.equal(await client.errorOf({ command: Command.Trim, ...RANGE }), NbdErrno.ESHUTDOWN);
  t.equal(await daxd.exited, 0);
  t.equal((await client.stream.readToEnd()).length, 0, 'the connection went with it');
});

t.test('SIGTERM with clients and no leases ends at once', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '32M', '--drain-timeout', '60s'] });
  const client = await Transmission.start(t, daxd.address, '');
  await client.write(0, Buffer.from('kept'));
  daxd.child.kill('SIGTERM');
  const exit = await daxd.exited;
  t.equal(exit, 0, `${daxd.child.signalCode} ${daxd.stderr.join('\n')}`);
  t.ok((await client.stream.readToEnd()).length === 0);
});
