/**
 * Runs NBD clients against daxd and its peers in turn: `npm run bench:nbd`, or
 * `npm run bench:nbd -- --rounds 3 --cells read-4k-qd1,copy-to --seconds 1 --seed 7`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { format } from 'prettier';

import { GIB } from '../../../src/lib/units.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { CELLS, writeSource } from './cells.js';
import { outputOf } from './child.js';
import { compare } from './comparison.js';
import { DEFAULTS, parseOptions, type Options } from './options.js';
import { buildFloor, hasCompiler } from './floor.js';
import { report } from './report.js';
import { runRounds, warmUp, type Series } from './rounds.js';
import { SERVERS, Server } from './servers.js';

const DOCS = 'docs/benchmarks.md';

// An interrupt ends the client that runs, and with it the run: what was started is cleared away.
process.on('SIGINT', () => {});

const options = parseOptions(process.argv.slice(2));
console.log(`seed ${options.seed}`);
const series = await measure(options);
const text = await format(
  report(
    {
      machine: machine(),
      programs: await programs(),
      command: `npm run bench:nbd -- --rounds ${options.rounds} --seconds ${options.seconds} --seed ${options.seed}`,
      date: new Date().toISOString().slice(0, 10),
      rounds: options.rounds,
      seconds: options.seconds,
    },
    options.cells.map((cell) => compare(cell, series)),
  ),
  { parser: 'markdown' },
);
console.log(text);
if (options.cells === CELLS && options.rounds >= DEFAULTS.rounds) {
  writeFileSync(DOCS, text);
} else {
  console.log(`${DOCS} is written when all cells ran ${DEFAULTS.rounds} rounds or more.`);
}

async function measure({ rounds, seconds, cells, seed }: Options): Promise<Series[]> {
  const directory = mkdtempSync('/dev/shm/daxd-bench-nbd-');
  const servers: Server[] = [];
  try {
    const kinds = hasCompiler() ? [...SERVERS, await buildFloor(directory)] : SERVERS;
    if (kinds === SERVERS) console.log('there is no cc: the floor is left out');
    const source = join(directory, 'source.img');
    writeSource(source);
    for (const kind of kinds) servers.push(await Server.start(kind, source, directory));
    for (const server of servers) await warmUp(server, source);
    const random = new SeededRandom(seed);
    return await runRounds({ cells, servers, source, rounds, seconds, random });
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}

function machine(): string {
  const [cpu] = cpus();
  const gib = Math.round(totalmem() / GIB);
  return `${cpus().length} cores of an ${cpu?.model ?? 'unknown processor'}, ${gib} GiB, Linux ${release()}`;
}

async function programs(): Promise<string[]> {
  const servers = SERVERS.map(async ({ name, version, command }) => {
    const at = { socket: 'SOCKET', image: 'IMAGE' };
    return `${name}: ${await versionOf(version)}, \`${command(at)}\``;
  });
  const clients = ['fio', 'nbdcopy'].map(
    async (name) => `${name}: ${await versionOf(`${name} --version`)}`,
  );
  return [`node: ${process.version}`, ...(await Promise.all([...servers, ...clients]))];
}

/** The first line of what a program says about its version, without its own name. */
async function versionOf(command: string): Promise<string> {
  const [program = '', ...args] = command.split(' ');
  const [line = ''] = (await outputOf(program, args)).split('\n');
  return line.replace(/^\D*/, '').replace(/ \(.*/, '');
}
