/** The programs of docs/guides/clients.md, run as they stand there. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';
import ts from 'typescript';

import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, post, startDaxd, until } from './daxd.js';
import { guideBlocks, installDaxd, runScript } from './guide.js';

/** The only program of a language in the guide. */
function program(language: string): string {
  const guide = readFileSync('docs/guides/clients.md', 'utf8');
  const [found, ...others] = guide.matchAll(
    new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'),
  );
  if (found?.[1] === undefined || others.length > 0) throw new Error(`one ${language}, please`);
  return found[1];
}

async function setUp(t: Test) {
  const directory = temporaryDirectory(t);
  const backing = join(directory, 'pmem0.img');
  const socket = join(directory, 'daxd.sock');
  const listen = ['--listen', `unix:${socket}`];
  const daxd = await startDaxd(t, ['--backing', backing, '--size', '64M', '--init', ...listen]);
  const p1 = `${daxd.url}/v1/partitions/pmem0p1`;
  const [prepare] = guideBlocks('docs/guides/clients.md');
  installDaxd(directory);
  runScript(t, prepare?.text ?? '', { directory, url: daxd.url });
  const env = { DAXD_URL: daxd.url, DAXD_HOST: new URL(daxd.url).host, DAXD_SOCKET: socket };
  return { directory, daxd, p1, env };
}

/** Runs a holder until a truncate makes it let go, and looks at what it stored. */
async function holds(
  t: Test,
  { daxd, p1, env }: Awaited<ReturnType<typeof setUp>>,
  [command, ...args]: readonly [string, ...string[]],
  greeting: string,
): Promise<void> {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const exited = once(child, 'close');
  await Promise.race([once(child.stdout, 'data'), exited]);
  const [lease] = (await curl(`${daxd.url}/v1/leases`)).json.leases;
  t.match(lease, { path: 'data.bin', length: 4096, access: 'write', state: 'active' });
  const content = await curl(`${p1}/files/data.bin`);
  t.equal(content.body.slice(0, greeting.length), greeting, 'it is in the file');
  // Longer than its ttl: it has to renew.
  await sleep(3_500);
  const { state } = await until(
    async () => (await curl(`${daxd.url}/v1/leases/${lease.id}`)).json,
    (now) => now.state !== 'suspect',
  );
  t.equal(state, 'active');
  const truncate = post(`${p1}/truncate`, { path: 'data.bin', size: 1, deadline_ms: 20_000 });
  t.equal((await curl(...truncate)).status, 200, 'given back for one that waits');
  const [code] = await exited;
  t.equal(code, 0);
  t.equal((await curl(`${daxd.url}/v1/leases/${lease.id}`)).json.state, 'released');
}

t.test('TypeScript', async (t) => {
  if (!requires(t, { commands: ['curl'] })) return;
  const up = await setUp(t);
  const place = join(up.directory, 'program');
  mkdirSync(join(place, 'node_modules'), { recursive: true });
  symlinkSync(resolve('.'), join(place, 'node_modules/daxd'));
  symlinkSync(resolve('node_modules/@types'), join(place, 'node_modules/@types'));
  const file = join(place, 'holder.mts');
  writeFileSync(file, program('ts'));
  const built = ts.createProgram([file], {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    types: ['node'],
    strict: true,
    skipLibCheck: true,
    outDir: place,
  });
  const complaints = ts.getPreEmitDiagnostics(built).map(({ messageText }) => messageText);
  t.strictSame(complaints, [], 'the compiler takes it');
  built.emit();
  await holds(t, up, [process.execPath, join(place, 'holder.mjs')], 'hello from TypeScript');
});

t.test('Python', async (t) => {
  if (!requires(t, { commands: ['curl', 'python3'] })) return;
  const up = await setUp(t);
  const file = join(up.directory, 'holder.py');
  writeFileSync(file, program('python'));
  await holds(t, up, ['python3', file], 'hello from Python');
});

t.test('C', async (t) => {
  if (!requires(t, { commands: ['curl', 'cc'] })) return;
  const up = await setUp(t);
  const source = join(up.directory, 'holder.c');
  const binary = join(up.directory, 'holder');
  writeFileSync(source, program('c'));
  const flags = ['-Wall', '-Wextra', '-Werror', '-o', binary];
  const compiled = spawnSync('cc', [...flags, source], { encoding: 'utf8' });
  t.equal(compiled.status, 0, compiled.stderr);
  await holds(t, up, [binary], 'hello from C');
});
