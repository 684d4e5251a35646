import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { PassThrough, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';

import t from 'tap';
import type { Test } from 'tap';

import { runProgram } from '../../../src/cli/program.js';
import type { ServeConfig } from '../../../src/config/load.js';
import { DaxdError } from '../../../src/lib/errno.js';
import { listenOnLoopback } from '../../support/serve-http.js';

/** A server that answers everything with a page. */
async function openWebSite(t: Test): Promise<string> {
  return openServer(t, (_request, response) => {
    response.end('<!doctype html>');
  });
}

async function openServer(t: Test, listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listenOnLoopback(t, createServer(listener))}`;
}

async function run(
  args: string[],
  serve?: (config: ServeConfig) => Promise<number>,
  env: Record<string, string> = { DAXD_URL: 'unix:/nowhere/x' },
) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const configs: ServeConfig[] = [];
  const exit = await runProgram(args, {
    standard: { stdin: new PassThrough(), stdout, stderr, env },
    version: '9.9.9',
    serve:
      serve ??
      (async (config) => {
        configs.push(config);
        return 0;
      }),
  });
  stdout.end();
  stderr.end();
  return { exit, configs, out: await text(stdout), err: await text(stderr) };
}

t.test('serve: is the verb when none is named, and takes its options', async (t) => {
  for (const args of [[], ['serve']]) {
    const { exit, configs } = await run([
      ...args,
      '--backing',
      'x',
      '--listen',
      'unix:/a',
      '--listen',
      '127.0.0.1:1',
      '--read-only',
    ]);
    t.equal(exit, 0);
    t.match(configs, [{ backing: 'x', readOnly: true, listen: [{ path: '/a' }, { port: 1 }] }]);
  }
  t.equal((await run([])).configs[0]?.isDefaultBacking, true);
  t.equal((await run([], async () => 1)).exit, 1, 'its code is that of the program');
});

t.test('serve: a wrong option is usage, a namespace that will not attach is refused', async (t) => {
  for (const args of [
    ['--size', '12Q'],
    ['--listen', '0.0.0.0:1'],
    ['--nbd', 'nowhere'],
    ['--nbd', '0.0.0.0:1'],
    ['--nbd-connections', '0'],
    ['--nbd-in-flight', '1K'],
    ['--state-dir', ''],
    ['--size'],
    ['stray'],
  ]) {
    const { exit, configs, err } = await run(args);
    t.equal(exit, 2, args.join(' '));
    t.strictSame(configs, []);
    t.not(err, '');
  }
  const { exit, err } = await run([], async () => {
    throw new DaxdError('EBUSY', 'in use by process 7');
  });
  t.equal(exit, 1);
  t.equal(err, 'daxd: EBUSY: in use by process 7\n');
});

t.test('version and help: exit 0', async (t) => {
  t.match(await run(['--version']), { exit: 0, out: '9.9.9\n' });
  const help = await run(['--help']);
  t.equal(help.exit, 0);
  for (const verb of ['serve', 'status', 'partitions', 'ls', 'cat', 'put', 'truncate', 'lease']) {
    t.match(help.out, new RegExp(`^  ${verb}`, 'm'));
  }
  for (const verb of ['doctor', 'top']) t.notMatch(help.out, new RegExp(`^  ${verb}`, 'm'));
});

t.test('version and help: exit 1 where they cannot be printed', async (t) => {
  for (const args of [['--version'], ['--help'], ['lease', '--help']]) {
    const full = Object.assign(new Error('ENOSPC: no space left'), { syscall: 'write' });
    const stdout = new Writable({ write: (_chunk, _encoding, done) => done(full) });
    stdout.on('error', () => {});
    const stderr = new PassThrough();
    const standard = { stdin: new PassThrough(), stdout, stderr, env: {} };
    const exit = await runProgram(args, { standard, version: '9.9.9', serve: async () => 0 });
    t.equal(exit, 1, args.join(' '));
    t.equal(await text(stderr.end()), 'daxd: cannot print: ENOSPC: no space left\n');
  }
});

t.test('verbs: no daemon is 69, a wrong argument 2', async (t) => {
  for (const args of [['status'], ['partitions'], ['lease', 'list'], ['ls', '-p', 'pmem0p1']]) {
    const { exit, err } = await run(args);
    t.equal(exit, 69, args.join(' '));
    t.match(err, /no daemon answers at unix:\/nowhere\/x/);
  }
  for (const args of [
    ['status', '--url', 'ftp://x'],
    ['status', '--url', 'x'],
    ['status', '--url', 'unix:'],
    ['truncate', 'a'],
    ['truncate', 'a', '-5'],
    ['truncate', 'a', '12Q', '-p', 'pmem0p1'],
    ['put', 'a', '/nowhere/at/all', '-p', 'pmem0p1'],
    ['lease'],
    ['lease', 'run'],
    ['lease', 'acquire', '-p', 'pmem0p1', '--length', '1', '--ttl-ms', 'x'],
    ['lease', 'acquire', '-p', 'pmem0p1'],
    ['lease', 'acquire', '-p', 'pmem0p1', '--length', '1', '--access', 'rw'],
    ['truncate', 'a', '0', '-p', 'pmem0p1', '--on-conflict', 'seize'],
    ['seek', 'a', '0', 'end', '-p', 'pmem0p1'],
    ['mknod', 'a', 'door', '-p', 'pmem0p1'],
    ['mknod', 'a', 'char', '1', '-p', 'pmem0p1'],
    ['lease', 'revoke', 'a'],
    ['quarantine', 'attest', 'a'],
    ['unknown'],
  ]) {
    const { exit, err } = await run(args);
    t.equal(exit, 2, args.join(' '));
    t.not(err, '');
  }
});

t.test(
  'verbs: what an option takes is said where it is given wrongly, or not at all',
  async (t) => {
    for (const range of ['foo', '0:1:2']) {
      const err = `daxd: --range: "${range}" is not OFFSET:LENGTH, such as 0:4K\n`;
      t.match(await run(['lease', 'release', 'L', '--range', range]), { exit: 2, err });
    }
    t.match(await run(['lease', 'acquire', '-p', 'p', '--length', '1', '--wait', 'x']), {
      exit: 2,
      err: /^daxd: --wait: "x" is not a time/,
    });
    const err = 'daxd: name what to set: --mode, --uid, --gid, --atime or --mtime\n';
    t.match(await run(['setattr', 'a', '-p', 'p']), { exit: 2, err });
    const number = 'daxd: a char device has a number: mknod PATH char MAJOR MINOR\n';
    t.match(await run(['mknod', 'a', 'char', '-p', 'p']), { exit: 2, err: number });
  },
);

t.test('verbs: an address that is none is named by where it is from', async (t) => {
  const option = await run(['status', '--url', 'unix:']);
  t.match(option, { exit: 2, err: /^daxd: --url "unix:" is not the address of a daemon/ });
  const variable = await run(['status'], undefined, { DAXD_URL: '' });
  t.match(variable, { exit: 2, err: /^daxd: DAXD_URL "" is not the address of a daemon/ });
});

t.test('verbs: one that is spelt wrongly is named, and is no argument of serve', async (t) => {
  const { exit, err, configs } = await run(['statsu']);
  t.equal(exit, 2);
  t.match(err, /unknown command 'statsu'\n\(Did you mean status\?\)/);
  t.strictSame(configs, []);
});

t.test('verbs: what is no daxd is said to be none', async (t) => {
  const url = await openWebSite(t);
  const { exit, err } = await run(['status', '--url', url]);
  t.equal(exit, 69);
  t.match(err, `daxd: what answers at ${url} is no daxd`);
});

t.test('verbs: an argument that is not UTF-8 is refused', async (t) => {
  for (const args of [['put', 'bad\uFFFD'], ['serve', '--backing', '\uFFFD'], ['\uFFFD']]) {
    const { exit, err, configs } = await run(args);
    t.equal(exit, 2);
    t.match(
      err,
      new RegExp(`^daxd: the argument "${args.at(-1)}" is not UTF-8, or holds U\\+FFFD: `),
    );
    t.strictSame(configs, []);
  }
});

t.test('verbs: an answer that ends in its middle is said, behind what came of it', async (t) => {
  const url = await openServer(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('{"half', () => response.destroy());
  });
  const cut = new RegExp(`^daxd: ${url} ended the connection in the middle of its answer: .*\n$`);
  t.match(await run(['cat', 'a', '-p', 'p', '--url', url]), { exit: 69, out: '{"half', err: cut });
  t.match(await run(['status', '--url', url]), { exit: 69, out: '', err: cut });
});

function unmounted(name: string, error?: object) {
  return { name, filesystem: { mounted: false, error } };
}

t.test('partition: where nothing could be mounted, why', async (t) => {
  const ls = async (...partitions: object[]) => {
    const url = await openServer(t, (_request, response) => {
      response.end(JSON.stringify(partitions));
    });
    return run(['ls', '--url', url]);
  };
  const error = { code: 'EUCLEAN', detail: 'the superblock is damaged' };
  t.match(await ls(unmounted('p1'), unmounted('p2', error)), {
    exit: 1,
    err: 'daxd: EUCLEAN: nothing is mounted: p2 could not be: EUCLEAN: the superblock is damaged\n',
  });
  const err = 'daxd: nothing is mounted: name a partition with --partition\n';
  t.match(await ls(unmounted('p1'), { name: 'p2', filesystem: null }), { exit: 2, err });
});

t.test('put: what cannot be read is named, and no daemon is blamed', async (t) => {
  const url = await openWebSite(t);
  const { exit, err } = await run(['put', 'a', 'src/cli', '-p', 'p', '--url', url]);
  t.equal(exit, 2);
  t.match(err, /^daxd: cannot read src\/cli: EISDIR: .*\n$/);
});

t.test('json: a refusal is what the daemon answered, on standard error', async (t) => {
  const problem = {
    title: 'Pages are pinned',
    status: 409,
    code: 'pages-pinned',
    detail: 'pages are pinned by L1',
    holders: ['L1'],
  };
  const url = await openServer(t, (_request, response) => {
    response.writeHead(409, { 'content-type': 'application/problem+json' });
    response.end(JSON.stringify(problem));
  });
  const args = ['truncate', 'a', '0', '-p', 'p', '--url', url];
  const plain = { exit: 1, out: '', err: 'daxd: pages-pinned: pages are pinned by L1\n' };
  t.match(await run(args), plain);
  const { exit, out, err } = await run([...args, '--json']);
  t.strictSame({ exit, out, problem: JSON.parse(err) }, { exit: 1, out: '', problem });
});

t.test('verbs: a daemon that wants a token has the variable named that takes it', async (t) => {
  const url = await openServer(t, (_request, response) => {
    response.writeHead(401);
    response.end(JSON.stringify({ code: 'EACCES', detail: 'no token', status: 401 }));
  });
  const err = 'daxd: EACCES: no token: a verb takes it from DAXD_TOKEN\n';
  t.match(await run(['status', '--url', url]), { exit: 1, err });
});

t.test('json: what no daemon answered is said likewise', async (t) => {
  const unknown = await openServer(t, (_request, response) => {
    response.writeHead(502);
    response.end('<html>');
  });
  const ls = ['ls', 'f', '-p', 'p', '--url', await openWebSite(t), '--json'];
  for (const [args, exit, problem] of [
    [['status', '--json'], 69, { code: 'unreachable', detail: /^no daemon answers at unix:/ }],
    [['stat', '--json'], 2, { code: 'usage', detail: "missing required argument 'PATH'" }],
    [['--json', 'statsu'], 2, { code: 'usage' }],
    [['truncate', 'a', 'x', '-p', 'p', '--json'], 2, { code: 'usage', detail: /^SIZE: / }],
    [
      ['status', '--json', '--url', unknown],
      1,
      { code: 'EIO', status: 502, detail: 'daxd answered 502' },
    ],
    [ls, 1, { code: 'ENOTDIR', detail: 'f is no directory: daxd cat shows its bytes' }],
    [['cat', 'f', '-p', 'p', '--json'], 2, { code: 'usage', detail: "unknown option '--json'" }],
  ] as const) {
    const answer = await run([...args]);
    t.equal(answer.exit, exit, args.join(' '));
    t.equal(answer.out, '');
    t.match(JSON.parse(answer.err), problem);
    t.equal(answer.err.indexOf('\n'), answer.err.length - 1, 'one line');
  }
  const command = await run(['lease', 'run', '-p', 'p', '--path', 'a', '--', 'x', '--json']);
  t.match(command, { exit: 69, err: /^daxd: / }, 'the option of a command that is run is its own');
});
