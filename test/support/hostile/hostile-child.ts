/**
 * Works through mutated images: arguments are the files of the intact images joined by `,`,
 * the seed, the first index and the index behind the last. Before each image its index is
 * printed, so that whoever watches knows which one hangs or ends the process, and what was
 * done to it; then, where it has defects, those. The last line sums up.
 */
import { readFileSync } from 'node:fs';

import { SeededRandom } from '../seeded-random.js';
import { survey } from './atlas.js';
import { exercise } from './exercise.js';
import { GuardedBacking } from './guarded-backing.js';
import { mutate } from './mutate.js';

/** Any one image takes at most so much of a processor. */
const CPU_MS_MAX = 1000;
/** What the process may take at its highest: images, buffers and Node itself. */
const RESIDENT_KIB_MAX = 700 * 1024;

const [images = '', seedText = '', firstText = '', endText = ''] = process.argv.slice(2);
const bases = images.split(',').map((path) => {
  const bytes = readFileSync(path);
  return { bytes, atlas: survey(bytes) };
});
const seed = Number(seedText);

/** The random numbers of one image, which no other image has. */
function randomOf(index: number): SeededRandom {
  return new SeededRandom((Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0);
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function runImage(index: number): Promise<ReadonlyMap<string, number>> {
  const random = randomOf(index);
  const { bytes, atlas } = bases[index % bases.length] ?? {
    bytes: Buffer.alloc(0),
    atlas: undefined,
  };
  const backing = backings.get(bytes.length) ?? new GuardedBacking(bytes.length);
  backings.set(bytes.length, backing);
  backing.trespasses.length = 0;
  bytes.copy(backing.image);
  const mutation = atlas ? mutate(backing.image, atlas, random) : [];
  print({ index, mutation });
  const before = process.cpuUsage();
  const { codes, defects } = await exercise(backing, random);
  const { user, system } = process.cpuUsage(before);
  const cpuMs = (user + system) / 1000;
  if (cpuMs > CPU_MS_MAX) defects.push(`took ${cpuMs} ms`);
  if (defects.length > 0) print({ index, mutation, defects });
  return codes;
}

const backings = new Map<number, GuardedBacking>();
const total = new Map<string, number>();
for (let index = Number(firstText); index < Number(endText); index++) {
  for (const [code, count] of await runImage(index)) {
    total.set(code, (total.get(code) ?? 0) + count);
  }
}
const { maxRSS } = process.resourceUsage();
if (maxRSS > RESIDENT_KIB_MAX) print({ index: -1, defects: [`took ${maxRSS} KiB of memory`] });
print({ codes: Object.fromEntries(total), maxRSS });
