/**
 * Runs a random program on daxd and on the kernel's ext4 and compares both:
 * `npm run differential -- --seed 7 --operations 5000 --image groups`. Takes root.
 */
import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { missingKinds } from './differential.js';
import { IMAGE_KINDS } from './images.js';
import type { ImageKind } from './images.js';
import { runSeed, shrinkSeed } from './seeded-run.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    operations: { type: 'string', default: '5000' },
    image: { type: 'string', default: 'default' },
    burst: { type: 'string', default: '100' },
    shrink: { type: 'boolean', default: false },
  },
});

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const kind = IMAGE_KINDS.find((known) => known === values.image);
if (kind === undefined) {
  say(`no image ${values.image}: there are ${IMAGE_KINDS.join(', ')}`);
  process.exitCode = 2;
} else {
  await main(kind);
}

async function main(kind: ImageKind): Promise<void> {
  const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
  const operations = Number(values.operations);
  const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
  const directory = mkdtempSync(join(base, 'daxd-differential-'));
  // After the unmount, which was asked for earlier; on a signal too.
  process.once('exit', () => {
    rmSync(directory, { recursive: true });
  });
  say(`seed ${seed}, ${operations} operations, image ${kind}; compared every ${values.burst}`);
  const missing = missingKinds();
  if (missing.length > 0) say(`not in daxd yet, so left out: ${missing.join(', ')}`);
  const plan = { directory, kind, seed, operations, burst: Number(values.burst), progress: say };
  const report = await runSeed(plan);
  const outcomes = [...report.counts.keys()].toSorted((a, b) => a.localeCompare(b));
  for (const outcome of outcomes) say(`${report.counts.get(outcome)}\t${outcome}`);
  say(`${report.operations.length} operations, ${report.comparisons} comparisons`);
  if (report.finding === undefined) {
    say('no difference');
    return;
  }
  for (const line of report.lines) say(line);
  process.exitCode = 1;
  if (values.shrink) for (const line of await shrinkSeed(plan, report)) say(line);
}
