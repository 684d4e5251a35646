/** Who excludes whom: mounts, clients of the disk, clients of its partitions, changes of the table. */
import { join } from 'node:path';
import { truncateSync, readFileSync, writeFileSync } from 'node:fs';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { runJudge } from '../support/ext4-image.js';
import { NbdConnection } from '../support/nbd/connection.js';
import { encodeInfoRequest, encodeOption } from '../support/nbd/option.js';
import { Command, CommandFlag, Option, OptionReplyType } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { curl, metric, post } from './daxd.js';
import { addPartition, clientCounts, eventually, leaseRaw, noClients, startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

async function names(t: Test, { address }: NbdDaxd): Promise<string[]> {
  return (await (await NbdConnection.greet(t, address)).list()).map(({ name }) => name);
}

/** What INFO and GO answer, which must be the same. */
async function refusal(t: Test, { address }: NbdDaxd, name: string): Promise<[number, string]> {
  const connection = await NbdConnection.greet(t, address);
  const info = await connection.refused(Option.Info, encodeInfoRequest(name));
  const go = await connection.refused(Option.Go, encodeInfoRequest(name));
  t.strictSame(go, info);
  return go;
}

async function partitionNames({ url }: NbdDaxd): Promise<string[]> {
  const partitions = (await curl(`${url}/v1/partitions`)).json as { name: string }[];
  return partitions.map(({ name }) => name);
}

t.test('a mounted partition is no export, nor is its disk', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '64M', '--init'] });
  t.strictSame(await names(t, daxd), []);
  for (const name of ['pmem0p1', 'pmem0']) {
    const [type, text] = await refusal(t, daxd, name);
    t.equal(type, OptionReplyType.ErrPolicy, name);
    t.match(text, /ext4|mounted/, 'the other side is named');
  }
  const [unknown] = await refusal(t, daxd, '');
  t.equal(unknown, OptionReplyType.ErrUnknown, 'there is no default export');
  const old = await NbdConnection.greet(t, daxd.address);
  await old.stream.write(encodeOption(Option.ExportName, Buffer.from('pmem0p1')));
  t.equal((await old.closed()).length, 0);

  t.equal((await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/unmount`))).status, 200);
  t.strictSame(await names(t, daxd), ['pmem0', 'pmem0p1']);
  const client = await Transmission.start(t, daxd.address, 'pmem0p1');
  const mount = await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/mount`));
  t.equal(mount.status, 409);
  t.match(mount.json, { code: 'EBUSY' });
  t.match(mount.body, /NBD client/, 'the other side is named');
  await client.disconnect();
  await noClients(daxd);
  t.equal((await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/mount`))).status, 200);
  t.strictSame(await names(t, daxd), []);
});

t.test('a partition with leases of files is no export once it is not mounted', async (t) => {
  const { directory, ...first } = await startNbd(t, { args: ['--size', '64M', '--init'] });
  const body = Buffer.alloc(8192, 1);
  const put = await fetch(`${first.url}/v1/partitions/pmem0p1/files/a`, { method: 'PUT', body });
  t.equal(put.status, 201);
  const terms = { offset: 0, length: 8192, access: 'write', ttl_ms: 600_000 };
  const asked = { partition: 'pmem0p1', path: 'a', ...terms };
  const lease = await curl(...post(`${first.url}/v1/leases`, asked));
  t.equal(lease.status, 201);
  t.equal(await first.stop(), 0);

  const daxd = await startNbd(t, { directory, args: ['--mount', 'none'] });
  t.strictSame(await names(t, daxd), []);
  for (const name of ['pmem0p1', 'pmem0']) {
    const [type, text] = await refusal(t, daxd, name);
    t.equal(type, OptionReplyType.ErrPolicy, name);
    t.match(text, /in use by 1 lease of files of pmem0p1 .*partition=pmem0p1/);
  }
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.json.id}`)).status, 204);
  t.strictSame(await names(t, daxd), ['pmem0', 'pmem0p1']);
  const client = await Transmission.start(t, daxd.address, 'pmem0p1');
  const mount = await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/mount`));
  t.match([mount.status, mount.body], [409, /NBD client/], 'so no lease comes to what is open');
  const again = await curl(...post(`${daxd.url}/v1/leases`, asked));
  t.match([again.status, again.json.detail], [400, /not mounted/]);
  await client.disconnect();
});

t.test('the default export: the disk, else the only partition that is exported', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '64M', '--init', '--mount', 'none'] });
  const size = async (): Promise<number | undefined> =>
    (await (await NbdConnection.greet(t, daxd.address)).info('')).size;
  const disk = (await curl(`${daxd.url}/v1/device`)).json.disk.size as number;
  t.equal(await size(), disk);
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/partitions/pmem0p1`)).status, 204);
  for (const label of ['one', 'two', 'three']) await addPartition(daxd, label, 8 * MIB);
  t.equal(await size(), disk);
  await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/format`, { force: true }));
  t.equal((await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/mount`))).status, 200);
  t.strictSame(await names(t, daxd), ['pmem0p2', 'pmem0p3']);
  t.equal((await refusal(t, daxd, ''))[0], OptionReplyType.ErrUnknown, 'there are two');
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/partitions/pmem0p3`)).status, 204);
  t.equal(await size(), 8 * MIB);
});

t.test('partitions appear and vanish as they do over HTTP', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '64M'] });
  t.strictSame(await names(t, daxd), ['pmem0']);
  const connection = await NbdConnection.greet(t, daxd.address);
  await addPartition(daxd, 'new', 8 * MIB);
  t.strictSame(await names(t, daxd), ['pmem0', 'pmem0p1']);
  t.equal((await connection.info('pmem0p1')).size, 8 * MIB, 'in handshakes under way too');
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/partitions/pmem0p1`)).status, 204);
  const [type] = await connection.refused(Option.Go, encodeInfoRequest('pmem0p1'));
  t.equal(type, OptionReplyType.ErrUnknown);
  t.strictSame(await names(t, daxd), ['pmem0']);
});

t.test('clients of the disk and of its partitions exclude each other', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '64M'] });
  await addPartition(daxd, 'one', 8 * MIB);
  await addPartition(daxd, 'two', 8 * MIB);
  const partition = await Transmission.start(t, daxd.address, 'pmem0p1');
  const second = await Transmission.start(t, daxd.address, 'pmem0p1');
  const other = await Transmission.start(t, daxd.address, 'pmem0p2');
  const [type, text] = await refusal(t, daxd, 'pmem0');
  t.equal(type, OptionReplyType.ErrPolicy);
  t.match(text, /NBD client/, 'the other side is named');
  t.strictSame(await clientCounts(daxd), { pmem0p1: 2, pmem0p2: 1 });
  for (const client of [partition, second, other]) await client.disconnect();
  await noClients(daxd);

  const disk = await Transmission.start(t, daxd.address, 'pmem0');
  await Transmission.start(t, daxd.address, '');
  const [partitionType, partitionText] = await refusal(t, daxd, 'pmem0p1');
  t.equal(partitionType, OptionReplyType.ErrPolicy);
  t.match(partitionText, /NBD client/);
  t.strictSame(await clientCounts(daxd), { pmem0: 2 });
  t.equal((await disk.read(0, 1)).length, 1);
  const edit = await curl(...post(`${daxd.url}/v1/partitions`, { label: 'x', size: MIB }));
  t.match([edit.status, edit.json.code], [409, 'EBUSY'], 'who has the disk has its table');
  const drop = await curl('-X', 'DELETE', `${daxd.url}/v1/partitions/pmem0p1`);
  t.match([drop.status, drop.json.code], [409, 'EBUSY']);
  const format = await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/format`));
  t.match([format.status, format.json.code], [409, 'EBUSY']);
  const mount = await curl(...post(`${daxd.url}/v1/partitions/pmem0p1/mount`));
  t.equal(mount.status, 409);
});

t.test('a partition with clients is deleted when told to disconnect them', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '64M'] });
  await addPartition(daxd, 'one', 8 * MIB);
  await addPartition(daxd, 'two', 8 * MIB);
  const clients = await Promise.all(
    [1, 2, 3].map(() => Transmission.start(t, daxd.address, 'pmem0p1')),
  );
  const other = await Transmission.start(t, daxd.address, 'pmem0p2');
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  const refused = await curl('-X', 'DELETE', p1);
  t.match([refused.status, refused.json.code], [409, 'EBUSY']);
  t.match(refused.body, /NBD client/);
  const format = await curl(...post(`${p1}/format`));
  t.match([format.status, format.json.code], [409, 'EBUSY']);
  t.equal((await clients[0]?.read(0, 1))?.length, 1, 'nobody was disconnected');
  t.equal((await curl('-X', 'DELETE', `${p1}?disconnect=true`)).status, 204);
  for (const { stream } of clients) t.equal((await stream.readToEnd()).length, 0);
  t.strictSame(await partitionNames(daxd), ['pmem0p2']);
  t.equal((await other.read(0, 1)).length, 1, 'others stay');
  t.strictSame(await names(t, daxd), ['pmem0p2'], 'and the disk is not to be had');
});

/** Whether a client is told to go before its request of a TiB is done, and what comes of that. */
async function isCutOff(t: Test): Promise<boolean> {
  const daxd = await startNbd(t, { args: ['--size', '1T', '--sparse'] });
  await addPartition(daxd, 'huge');
  const client = await Transmission.start(t, daxd.address, 'pmem0p1', { style: 'extended' });
  await client.send({ command: Command.Trim, length: client.size });
  // Not by curl: the request may be done before that has started.
  const url = `${daxd.url}/v1/partitions/pmem0p1?disconnect=true`;
  t.equal((await fetch(url, { method: 'DELETE' })).status, 204);
  const replies = await client.stream.readToEnd();
  const series = 'daxd_nbd_requests_total{export="pmem0p1",command="trim",outcome="ok"}';
  const done = (await metric(daxd.url, series)) ?? 0;
  t.equal(await daxd.stop(), 0);
  return replies.length === 0 && done === 0;
}

t.test('a client that is told to go ends its request of a TiB between two pieces', async (t) => {
  for (let tries = 1; tries <= 5; tries++) {
    if (await isCutOff(t)) return t.pass(`at try ${tries}`);
  }
  return t.fail('each request was done to its end');
});

t.test('a client that comes back at once is not let in while its partition goes', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '256M', '--sparse'] });
  await addPartition(daxd, 'large');
  const busy = await Transmission.start(t, daxd.address, 'pmem0p1');
  const idle = await Transmission.start(t, daxd.address, 'pmem0p1');
  // It holds the change up for a piece of its request, and the other one comes back meanwhile.
  const stores = { command: Command.WriteZeroes, flags: CommandFlag.NoHole };
  await busy.send({ ...stores, length: busy.size });
  const comesBack = async (): Promise<void> => {
    await idle.stream.readToEnd();
    for (let tries = 0; tries < 20; tries++) {
      const connection = await NbdConnection.greet(t, daxd.address);
      const replies = await connection.option(Option.Go, encodeInfoRequest('pmem0p1'));
      if (replies.at(-1)?.type !== OptionReplyType.ErrPolicy) return;
    }
  };
  const deleting = curl('-X', 'DELETE', `${daxd.url}/v1/partitions/pmem0p1?disconnect=true`);
  const [gone] = await Promise.all([deleting, comesBack()]);
  t.equal(gone.status, 204, gone.body);
  t.strictSame(await partitionNames(daxd), []);
  const missing = await curl('-X', 'DELETE', `${daxd.url}/v1/partitions/pmem0p1?disconnect=true`);
  t.equal(missing.status, 404);
  t.strictSame(await names(t, daxd), ['pmem0'], 'nothing is kept shut');
});

t.test('a partition with clients and a lease: telling to disconnect is not enough', async (t) => {
  const daxd = await startNbd(t, { args: ['--size', '64M'] });
  const name = await addPartition(daxd, 'one', 8 * MIB);
  const client = await Transmission.start(t, daxd.address, name);
  const lease = await leaseRaw(daxd, name, [0, 4096]);
  const url = `${daxd.url}/v1/partitions/${name}?disconnect=true`;
  const refused = await curl('-X', 'DELETE', url);
  t.match([refused.status, refused.json.code], [409, 'EBUSY']);
  t.equal((await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease}`)).status, 204);
  t.equal((await curl('-X', 'DELETE', url)).status, 204);
  t.equal((await client.stream.readToEnd()).length, 0);
});

t.test('the table is read again when the last client of the disk leaves', async (t) => {
  if (!requires(t, { commands: ['sgdisk'] })) return;
  const daxd = await startNbd(t, { args: ['--size', '32M'] });
  const first = await Transmission.start(t, daxd.address, '');
  const second = await Transmission.start(t, daxd.address, 'pmem0');
  const table = join(daxd.directory, 'table.img');
  writeFileSync(table, '');
  truncateSync(table, 32 * MIB);
  const made = runJudge('sgdisk', ['-n', '1:0:+8M', '-c', '1:alpha', '-n', '2:0:0', table]);
  t.equal(made.status, 0, made.output);
  const bytes = readFileSync(table);
  await first.write(0, bytes.subarray(0, MIB));
  await second.write(31 * MIB, bytes.subarray(31 * MIB));
  t.strictSame(await partitionNames(daxd), [], 'not yet');
  await first.disconnect();
  t.strictSame(await partitionNames(daxd), [], 'one is still there');
  second.stream.destroy();
  const found = await eventually(
    () => partitionNames(daxd),
    (list) => list.length > 0,
  );
  t.strictSame(found, ['pmem0p1', 'pmem0p2']);
  t.match(await (await NbdConnection.greet(t, daxd.address)).list(), [
    { name: 'pmem0' },
    { name: 'pmem0p1', description: /alpha/ },
    { name: 'pmem0p2' },
  ]);
});
