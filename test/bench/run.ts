/**
 * Runs the benchmarks and prints ratios of daxd to a peer or to the physical limit, both
 * measured in the same run: `npm run bench`, or `npm run bench -- pins wake`.
 */
import { cpus } from 'node:os';

import type { BenchRow } from './bench-row.js';
import { run as ext4 } from './ext4.bench.js';
import { run as httpLeases } from './http-leases.bench.js';
import { run as leases } from './leases.bench.js';
import { run as pins } from './pins.bench.js';
import { run as wake } from './wake.bench.js';

const BENCHES: Readonly<Record<string, () => Promise<BenchRow[]>>> = {
  pins,
  wake,
  ext4,
  'http-leases': httpLeases,
  leases,
};

const asked = process.argv.slice(2);
const names = asked.length > 0 ? asked : Object.keys(BENCHES);
const [cpu] = cpus();
console.log(`node ${process.version}, ${cpus().length} x ${cpu?.model ?? 'unknown CPU'}`);
for (const name of names) {
  const bench = BENCHES[name];
  if (bench === undefined) {
    console.error(`no benchmark ${name}: there are ${Object.keys(BENCHES).join(', ')}`);
    process.exitCode = 2;
    break;
  }
  console.log(`\n${name}`);
  console.table(Object.fromEntries((await bench()).map(({ name: row, ...cells }) => [row, cells])));
}
