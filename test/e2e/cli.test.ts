import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import t from 'tap';

import { scratchDirectory } from '../support/scratch-directory.js';
import { BIN, curl, post, runVerb, startDaxd } from './daxd.js';

/** A verb whose standard output takes nothing. */
function runIntoFull(url: string, verb: string) {
  const env = { ...process.env, DAXD_URL: url };
  return spawnSync('sh', ['-c', `${process.execPath} ${BIN} ${verb} >/dev/full`], {
    encoding: 'utf8',
    env,
  });
}

/** A verb whose standard input is what a shell opens by `redirection`. */
function runFrom(url: string, verb: string, redirection: string) {
  const env = { ...process.env, DAXD_URL: url };
  return spawnSync('sh', ['-c', `${process.execPath} ${BIN} ${verb} ${redirection}`], {
    encoding: 'utf8',
    env,
  });
}

/** A verb whose standard output nobody reads. */
async function runUnread(url: string, args: readonly string[]) {
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { ...process.env, DAXD_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.destroy();
  const [stderr, [status]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  return { status, stderr };
}

t.test('daxd: the embedded default, and every verb on it', async (t) => {
  const directory = scratchDirectory(t);
  const daxd = await startDaxd(t, [], directory);
  const image = join(directory, 'daxd-data/pmem0.img');
  t.equal(statSync(image).size, 256 * 1024 * 1024);
  t.ok(statSync(image).blocks * 512 >= 256 * 1024 * 1024, 'all of it is allocated');
  const run = (...args: string[]) => runVerb(daxd.url, args);
  const json = (...args: string[]) => JSON.parse(run(...args, '--json').stdout);

  t.match(run('status').stdout, /^disk +pmem0$/m);
  t.equal(json('status').backing.path, image);
  t.match(run('partitions').stdout, /^NAME .*\npmem0p1 +daxd /);

  t.equal(runVerb(daxd.url, ['put', 'a.txt'], 'hello').exit, 0);
  t.equal(run('cat', 'a.txt').stdout, 'hello');
  t.equal(runVerb(daxd.url, ['put', 'a.txt', '-', '--offset', '1'], 'u').exit, 0);
  t.equal(run('cat', '/a.txt').stdout, 'hullo');
  for (const verb of ['put a.txt', 'xattr set a.txt user.a']) {
    for (const [redirection, code] of [
      ['</', 'EISDIR'],
      ['<&-', 'EBADF'],
    ] as const) {
      const stderr = new RegExp(`^daxd: cannot read standard input: ${code}: `);
      t.match(
        runFrom(daxd.url, verb, redirection),
        { status: 2, stderr },
        `${verb} ${redirection}`,
      );
    }
  }
  t.equal(run('cat', 'a.txt').stdout, 'hullo', 'as it was');
  t.match(runFrom(daxd.url, 'put empty', '</dev/null'), { status: 0, stderr: '' });
  t.equal(run('cat', 'empty').stdout, '');
  t.match(runFrom(daxd.url, 'ls', '<&-'), { status: 0 }, 'what does not read it does not mind');
  t.match(run('ls').stdout, /^file +5 +\d+ +a\.txt$/m);
  t.ok(json('ls').some(({ name }: { name: string }) => name === 'a.txt'));

  const lease = json(
    'lease',
    'acquire',
    '--path',
    'a.txt',
    '--access',
    'write',
    '--client',
    'me',
    '--wait',
    '1s',
  );
  t.match(lease, { state: 'active', length: 5, pages: 1, client: 'me' });
  t.match(run('lease', 'list').stdout, new RegExp(`${lease.id} +active`));
  t.equal(json('lease', 'list', '--path', 'a.txt').length, 1);
  t.equal(run('lease', 'renew', lease.id).exit, 0);
  t.equal(json('lease', 'release', lease.id, '--range', '0:1').pages, 1, 'a part of a page stays');
  t.equal(json('lease', 'release', lease.id).state, 'released');

  t.match(json('truncate', 'a.txt', '8K'), { size: 8192 });
  t.match(json('punch-hole', 'a.txt', '0', '4K'), { size: 8192 });
  t.match(json('truncate', 'a.txt', '2'), { size: 2 });
  t.equal(run('cat', 'a.txt').stdout, '\0\0');

  t.match(run('ls', 'a.txt'), { exit: 1, stderr: /ENOTDIR: a\.txt is no directory/ });
  t.match(run('cat', 'lost+found'), { exit: 1, stderr: /EISDIR: lost\+found is a directory/ });
  const unprinted = runIntoFull(daxd.url, 'lease acquire --path a.txt');
  t.match(unprinted, { status: 1, stderr: /^daxd: cannot print: ENOSPC/ });
  t.strictSame(json('lease', 'list'), [], 'a lease that nobody knows of is given back');
  const unread = { status: 1, stderr: 'daxd: EPIPE: the lease was given back: nobody read it\n' };
  t.match(await runUnread(daxd.url, ['lease', 'acquire', '--path', 'a.txt']), unread);
  t.strictSame(json('lease', 'list'), []);
  t.strictSame(json('quarantine', 'list'), [], 'an array, as of every list');
  t.strictSame(json('nbd', 'list'), []);
  t.strictSame(json('holders', 'a.txt'), []);
  for (const [args, stderr] of [
    [['holders', 'nope'], /^daxd: ENOENT: there is no nope on pmem0p1$/m],
    [['lease', 'list', '--path', 'a.txt/nope'], /^daxd: ENOTDIR: /],
    [['lease', 'list', '-p', 'zz'], /^daxd: ENOENT: there is no partition zz: /],
  ] as const) {
    t.match(run(...args), { exit: 1, stdout: '', stderr }, args.join(' '));
  }
  t.match(await runUnread(daxd.url, ['cat', 'a.txt']), { status: 0, stderr: '' });
  t.match(runIntoFull(daxd.url, 'cat a.txt'), { status: 1, stderr: /^daxd: cannot print: ENOSPC/ });

  const refused = run('cat', 'none');
  t.equal(refused.exit, 1);
  t.match(refused.stderr, /ENOENT/);
  t.equal(await daxd.stop(), 0);
  t.equal(run('status').exit, 69);
  t.match(run('--version').stdout, /^\d+\.\d+\.\d+\n$/);

  const again = await startDaxd(t, [], directory);
  t.equal(runVerb(again.url, ['cat', 'a.txt']).stdout, '\0\0', 'it is there at the next start');
  t.equal(await again.stop(), 0);
});

t.test('daxd: the verbs about names, attributes and ranges', async (t) => {
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  const run = (...args: string[]) => runVerb(daxd.url, args);
  const json = (...args: string[]) => JSON.parse(run(...args, '--json').stdout);
  const done = (args: string[], input = '') => {
    const { exit, stderr } = runVerb(daxd.url, args, input);
    t.equal(exit, 0, `${args.join(' ')}: ${stderr}`);
  };

  done(['put', 'a', '-', '--exclusive'], 'one');
  t.match(runVerb(daxd.url, ['put', 'a', '-', '--exclusive'], 'x'), { exit: 1, stderr: /EEXIST/ });
  done(['put', 'a', '-', '--append'], 'two');
  t.equal(run('cat', 'a').stdout, 'onetwo');
  t.match(JSON.parse(runVerb(daxd.url, ['put', 'a', '--append', '--json'], '3').stdout), {
    offset: 6,
  });
  t.match(json('truncate', 'a', '6'), { size: 6 });
  t.strictSame(json('put', 'a', '/dev/null', '--offset', '0'), {}, 'the daemon answers nothing');
  t.strictSame(json('xattr', 'set', 'a', 'user.json', 'x'), {});
  t.strictSame(json('xattr', 'remove', 'a', 'user.json'), {});
  t.match(json('mknod', 'pipe', 'fifo'), { inode: Number });
  t.strictSame(json('rm', 'pipe'), {});
  done(['link', 'a', 'b']);
  done(['mknod', 'null', 'char', '1', '3', '--mode', '0666']);
  t.match(run('rename', 'b', 'null', '--no-replace'), { exit: 1, stderr: /EEXIST/ });
  done(['rename', 'b', 'c']);
  t.match(json('stat', 'c'), { nlink: 2, size: 6 });
  t.match(json('stat', 'null'), { type: 'char', device: { major: 1, minor: 3 } });
  t.match(run('stat', 'null').stdout, /^device +1:3$/m);

  const mtime = '2400-02-29T23:59:59.123456789Z';
  const wanted = ['--mode', '4711', '--uid', '1000', '--gid', '70000', '--mtime', mtime];
  t.match(json('setattr', 'a', ...wanted), { mode: 0o104711, uid: 1000, gid: 70_000, mtime });
  t.match(run('stat', '/a').stdout, /^mode +04711\n[^]*^owner +1000:70000$/m);
  t.equal(run('setattr', 'a', '--mode', '99').exit, 2);

  done(['xattr', 'set', 'a', 'user.text', 'value', '--only', 'create']);
  done(['xattr', 'set', 'a', 'user.piped'], 'piped');
  t.equal(run('xattr', 'get', 'a', 'user.piped').stdout, 'piped');
  t.match(run('xattr', 'list', 'c').stdout, /^ +5 +user\.text$/m);
  t.match(json('xattr', 'list', 'a'), [{ name: 'user.text' }, { name: 'user.piped' }]);
  t.match(runIntoFull(daxd.url, 'xattr get a user.text'), { status: 1, stderr: /cannot print/ });
  t.match(runIntoFull(daxd.url, '--help'), { status: 1, stderr: /^daxd: cannot print: ENOSPC/ });
  done(['xattr', 'remove', 'a', 'user.text']);
  t.match(run('xattr', 'get', 'a', 'user.text'), { exit: 1, stderr: /ENODATA/ });

  done(['put', 'f'], 'x'.repeat(4096) + 'y'.repeat(4096));
  t.match(json('collapse-range', 'f', '0', '4K'), { size: 4096 });
  t.match(json('insert-range', 'f', '0', '4K'), { size: 8192 });
  t.match(json('seek', 'f', '0', 'data'), { offset: 4096 });
  t.match(json('seek', 'f', '4K', 'hole'), { offset: 8192 });
  t.match(run('seek', 'f', '8K', 'data'), { exit: 1, stderr: /ENXIO/ });
  done(['rm', 'f']);
  t.match(run('cat', 'f'), { exit: 1, stderr: /ENOENT/ });
  const sizes = json('statfs');
  t.ok(sizes.free_bytes >= sizes.available_bytes && sizes.total_inodes > sizes.free_inodes);
  t.match(run('statfs').stdout, /^available bytes +\d+$/m);
  t.equal(await daxd.stop(), 0);
});

t.test('daxd: the verbs about partitions, nodes, room and what waits', async (t) => {
  const daxd = await startDaxd(t, [], scratchDirectory(t));
  const run = (...args: string[]) => runVerb(daxd.url, args);
  const json = (...args: string[]) => JSON.parse(run(...args, '--json').stdout);

  t.match(json('unmount', 'pmem0p1'), { name: 'pmem0p1', filesystem: { mounted: false } });
  t.match(run('unmount', 'pmem0p1'), { exit: 1, stderr: /^daxd: EINVAL: / });
  t.strictSame(json('partitions', 'delete', 'pmem0p1'), {});
  t.strictSame(json('partitions'), []);
  const added = { name: 'pmem0p1', label: 'new', size: 32 * 1024 * 1024 };
  t.match(json('partitions', 'add', '--label', 'new', '--size', '32M'), added);
  t.match(json('partitions', 'list'), [added]);
  t.match(run('format', 'pmem0p1'), { exit: 1, stderr: /^daxd: EEXIST: / }, 'the old one');
  const formatted = { filesystem: { label: 'fs', mounted: false } };
  t.match(json('format', 'pmem0p1', '--label', 'fs', '--force'), formatted);
  t.match(run('mount', 'pmem0p1', '--read-only').stdout, /^pmem0p1 .* read-only /m);
  t.equal(run('unmount', 'pmem0p1').exit, 0);
  t.match(json('mount', 'pmem0p1'), { filesystem: { mounted: true, read_only: false } });

  t.match(json('mkdir', 'd'), { inode: Number });
  t.equal(run('symlink', 'd/f', 's').exit, 0);
  t.equal(run('put', 'd/f').exit, 0);
  t.match(json('stat', 's'), { type: 'symlink', target: 'd/f' });
  t.match(json('fallocate', 's', '0', '8K'), { size: 8192 });
  t.match(json('fallocate', 's', '8K', '8K', '--keep-size'), { size: 8192 });
  t.match(json('zero-range', 'd/f', '4K', '8K'), { size: 12_288 });
  t.match(run('mkdir', 's'), { exit: 1, stderr: /^daxd: EEXIST: / });

  const verbs =
    'ls; stat d; setattr d --mode 755; seek d/f 0 hole; statfs; holders d/f; status; partitions list; ' +
    'nbd list; lease list; quarantine list; operations list; xattr list d; truncate d/f 12K; ' +
    'fallocate d/f 0 4K; mkdir e --json; rm e --json';
  for (const verb of verbs.split('; ')) {
    const unprinted = { status: 1, stderr: /cannot print: ENOSPC/ };
    t.match(runIntoFull(daxd.url, verb), unprinted, `${verb}: nothing is lost in silence`);
  }

  const lease = json('lease', 'acquire', '--path', 'd/f', '--access', 'write');
  const truncate = post(`${daxd.url}/v1/partitions/pmem0p1/truncate`, { path: 'd/f', size: 0 });
  const { json: waiting } = await curl('-H', 'prefer: respond-async', ...truncate);
  t.match(json('operations', 'list'), [{ id: waiting.id, blocked_by: [lease.id] }]);
  t.match(run('operations', 'list').stdout, new RegExp(`^${waiting.id} .* ${lease.id}$`, 'm'));
  t.match(json('operations', 'show', waiting.id), { op: 'truncate', state: 'waiting' });
  t.match(run('operations', 'cancel', waiting.id), {
    exit: 0,
    stdout: /^\w+ +truncate +ended .* cancelled$/m,
  });
  const ended = { state: 'ended', error: { code: 'cancelled' } };
  t.match(json('operations', 'show', waiting.id, '--wait', '10s'), ended);
  t.match(run('operations', 'show', waiting.id).stdout, /cancelled$/m);
  t.match(run('operations', 'show', 'nope'), { exit: 1, stderr: /^daxd: ENOENT: / });
  t.equal(await daxd.stop(), 0);
});

t.test('daxd: a Unix socket serves like TCP', async (t) => {
  const directory = scratchDirectory(t);
  const socket = join(directory, 's');
  const daxd = await startDaxd(t, ['--listen', `unix:${socket}`], directory);
  t.match(daxd.stdout[0], new RegExp(` unix:${socket}$`));
  t.equal(statSync(socket).mode & 0o777, 0o660);
  t.match(runVerb(`unix:${socket}`, ['ls']).stdout, /lost\+found/);
  t.equal((await curl('--unix-socket', socket, 'http://any.name/livez')).status, 200);
  t.equal(await daxd.stop(), 0);
  t.equal(existsSync(socket), false, 'it goes with the daemon');
});
